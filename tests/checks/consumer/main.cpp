// A program of somebody else's, which uses an installed copy of the library (tests/checks/installed.py).
#include <fiber/fiber.hpp>

int main() {
    return fiber::run([] {
        auto answer = fiber::spawn([] { return 42; });
        return answer.get() == 42 ? 0 : 1;
    });
}
