// The same two waits as two tasks, created first and then waited for: 2 seconds.
#include <fiber/fiber.hpp>

#include <chrono>
#include <string>

#include "docs/examples/step.hpp"

using namespace std::chrono_literals;

void say_after(std::chrono::seconds delay, const std::string& what) {
    fiber::sleep_for(delay);
    say(what);
}

int main() {
    fiber::run([] {
        auto first = fiber::spawn(say_after, 2s, "hello");
        auto second = fiber::spawn(say_after, 2s, "world");
        say("started");
        first.get();
        second.get();
        say("finished");
    });
}
