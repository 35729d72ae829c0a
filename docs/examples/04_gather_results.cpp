// Five waits at once that return something: the results come in the order of the tasks. 2 seconds.
#include <fiber/fiber.hpp>

#include <chrono>
#include <string>
#include <vector>

#include "docs/examples/step.hpp"

using namespace std::chrono_literals;

std::string work(int number) {
    fiber::sleep_for(2s);
    return "result " + std::to_string(number);
}

int main() {
    fiber::run([] {
        say("started");
        std::vector<fiber::task<std::string>> tasks;
        for (int number = 1; number <= 5; ++number) tasks.push_back(fiber::spawn(work, number));
        const std::vector<std::string> results = fiber::gather(tasks);
        for (const std::string& result : results) say(result);
        say("finished");
    });
}
