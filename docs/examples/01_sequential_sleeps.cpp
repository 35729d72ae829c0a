// Two waits, one after the other: 4 seconds.
#include <fiber/fiber.hpp>

#include <chrono>

#include "docs/examples/step.hpp"

using namespace std::chrono_literals;

int main() {
    fiber::run([] {
        say("started");
        fiber::sleep_for(2s);
        say("hello");
        fiber::sleep_for(2s);
        say("world");
        say("finished");
    });
}
