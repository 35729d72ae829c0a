// A descriptor that is used in several ways at once: by its bare number and by its owner, and in several runtimes.
#include <future>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "tests/api/fixture.hpp"
#include "tests/api/net_fixture.hpp"

using namespace fiber::test;
namespace io = fiber::io;
namespace net = fiber::net;

// A reactor knows each number once. Whoever waited for the bare one first had it, and the owner got "File exists".
TEST_CASE("a stream may be waited for by its number first, and read then") {
    on_each_worker_count([] {
        connection both;
        auto first = fiber::spawn([&] { io::wait_readable(both.near.native_handle()); });
        settle();
        auto reading = fiber::spawn([&] { return both.near.read_until("\n"); });
        settle();
        auto last = fiber::spawn([&] { io::wait_readable(both.near.native_handle()); });
        settle();
        both.far.write_all("a line\n");
        CHECK(reading.get() == "a line\n");
        both.far.write_all("more");
        first.get();
        last.get();
        CHECK(both.near.read_exactly(4) == "more");
        auto again = fiber::spawn([&] { return both.near.read_until("\n"); });
        settle();
        both.near.close();
        CHECK(has(what_of([&] { (void)again.get(); }), "closed"));
    });
}

// The descriptor had gone over to the runtime that waited for it last. When that ended, nobody asked for its events, and
// those who waited elsewhere waited on.
TEST_CASE("a runtime that ends leaves those who wait for its descriptors in another one to that") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        io::descriptor near(ends[0]);
        const io::descriptor far(ends[1]);
        std::promise<void> waits;
        std::thread other([&] {
            fiber::run({.workers = workers}, [&] {
                auto reading = fiber::spawn([&] {
                    char byte = 0;
                    CHECK(near.read_some({&byte, 1}) == 1);
                    return byte;
                });
                settle();
                waits.set_value();
                CHECK(fiber::wait_for(std::move(reading), patience) == 'x');
            });
        });
        waits.get_future().get();
        fiber::run({.workers = workers}, [&] {
            char byte;
            std::error_code error;
            (void)near.read_some({&byte, 1}, error, 1ms);
            CHECK(error == std::errc::timed_out);
        });
        CHECK(::write(far.native_handle(), "x", 1) == 1);
        other.join();
    });
}
