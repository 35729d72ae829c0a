// Five calls that block their thread, handed to a pool of threads and gathered: 2 seconds.
#include <fiber/fiber.hpp>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "docs/examples/step.hpp"

using namespace std::chrono_literals;

// Stands for any call that knows nothing of fibers: a database driver, a file, a name lookup.
std::string blocking_call(int number) {
    std::this_thread::sleep_for(2s);
    return "call " + std::to_string(number);
}

int main() {
    fiber::run([] {
        say("started");
        std::vector<fiber::future<std::string>> calls;
        for (int number = 1; number <= 5; ++number) calls.push_back(fiber::run_in_executor(blocking_call, number));
        for (const std::string& result : fiber::gather(calls)) say(result);
        say("finished");
    });
}
