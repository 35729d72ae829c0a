// Five waits at once, one gather: 2 seconds.
#include <fiber/fiber.hpp>

#include <chrono>
#include <string>
#include <vector>

#include "docs/examples/step.hpp"

using namespace std::chrono_literals;

void work(int number) {
    say("task " + std::to_string(number) + " starts");
    fiber::sleep_for(2s);
    say("task " + std::to_string(number) + " ends");
}

int main() {
    fiber::run([] {
        say("started");
        std::vector<fiber::task<void>> tasks;
        for (int number = 1; number <= 5; ++number) tasks.push_back(fiber::spawn(work, number));
        fiber::gather(tasks);
        say("finished");
    });
}
