// Memory, threads and mappings run out at every possible point of programs that use signals, pipes, child processes and
// files. Each time the program ends with an exception that says so, or with the right result; no child, no descriptor
// and no handler is left.
#include <csignal>
#include <unistd.h>

#include "tests/api/fail_at_each_request.hpp"
#include "tests/support/no_children.hpp"

using namespace fiber::test;
using fiber::stdio;

namespace {

int signals_and_pipes() {
    fiber::signals one{SIGUSR1};
    fiber::signals both{SIGUSR1, SIGUSR2};
    auto waits = fiber::spawn([&] { return both.wait(); });
    ::raise(SIGUSR1);
    bool right = waits.get() == SIGUSR1 && one.wait() == SIGUSR1 && !one.try_wait();
    auto [from, to] = fiber::io::pipe();
    auto writer = fiber::spawn([&, &to = to] {
        to.write_all("a line\nand more");
        to.close();
    });
    right = from.read_until("\n") == "a line\n" && right;
    right = from.read_all() == "and more" && right;
    writer.get();
    return right;
}

int children() {
    fiber::process echo({.in = stdio::pipe, .out = stdio::pipe, .err = stdio::null}, {"cat"});
    const auto [out, err, status] = echo.communicate("through");
    fiber::process waits({.directory = "/", .environment = std::vector<std::string>{"A=B"}}, {"/bin/sleep", "3600"});
    return out == "through" && status.success() && !waits.try_wait();
}

int files() {
    const std::string path = "/tmp/fiber-out-of-memory-" + std::to_string(::getpid());
    fiber::file data(path, fiber::open_mode::write);
    ::unlink(path.c_str());
    data.write_at("0123456789", 0);
    char part[4];
    const bool right = data.read_at(part, 2) == 4 && std::string(part, 4) == "2345" && data.size() == 10;
    const bool whole = data.read_all() == "0123456789" && fiber::read_file("/dev/null").empty();
    data.close();
    return right && whole;
}

}  // namespace

TEST_CASE("what runs out in signals and pipes ends in an error, and nothing is left") {
    fail_everywhere(signals_and_pipes);
}
TEST_CASE("what runs out in child processes ends in an error, and no child is left") {
    fail_everywhere(children);
    CHECK(fiber_test::no_children_left());
}
TEST_CASE("what runs out in files ends in an error, and nothing is left") { fail_everywhere(files); }
