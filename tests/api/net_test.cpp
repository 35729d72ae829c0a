// Sockets over loopback, with peers that behave and peers that do not: streams, listeners, servers, names, datagrams.
#include <future>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/api/fixture.hpp"
#include "tests/api/net_fixture.hpp"

using namespace fiber::test;
namespace io = fiber::io;
namespace net = fiber::net;

namespace {

void echo(net::stream peer) {
    char block[1024];
    while (const std::size_t count = peer.read_some(block)) peer.write_all(io::const_bytes(block, count));
}

}  // namespace

TEST_CASE("streams: lines, counts and the rest come in order, out of one buffer") {
    on_each_worker_count([] {
        connection both;
        const io::const_bytes pieces[] = {"GET / HTTP/1.1\r\n", "Host: x\r\n\r\n", "body", "", "rest"};
        auto writing = fiber::spawn([&] {
            both.far.write_all(pieces, 5);
            both.far.shutdown();
        });
        CHECK(both.near.read_until("\r\n") == "GET / HTTP/1.1\r\n");
        std::string line;
        both.near.read_until(line, "\r\n\r\n");
        CHECK(line == "Host: x\r\n\r\n");
        CHECK(both.near.read_exactly(4) == "body");
        std::string rest(100, ' ');
        std::size_t count = 0;
        while (count < 4) count += both.near.read_some(io::mutable_bytes(rest.data() + count, rest.size() - count));
        CHECK(rest.substr(0, count) == "rest");
        CHECK(both.near.read_some(rest) == 0);
        CHECK(both.near.read_some(rest) == 0);
        writing.get();
        both.near.write_all("half of it is open still");
        CHECK(both.far.read_exactly(24) == "half of it is open still");
    });
}

TEST_CASE("an oversized line is a typed error, and nothing is lost") {
    on_each_worker_count([] {
        connection both;
        both.far.write_all(std::string(100, 'x') + "\n");
        CHECK_THROWS_AS(both.near.read_until("\n", 50), net::limit_overrun);
        CHECK(both.near.read_until("\n", 101) == std::string(100, 'x') + "\n");
        const std::string large = std::string(300'000, 'y') + "\n";
        auto writing = fiber::spawn([&] { both.far.write_all(large); });
        std::string line;
        std::error_code error;
        both.near.read_until(line, "\n", 100'000, error);
        CHECK(error == io::errc::limit_overrun);
        CHECK(both.near.read_until("\n", 400'000) == large);
        writing.get();
        CHECK(both.near.buffered() == 0);
        CHECK_THROWS_AS(both.near.read_until(""), std::invalid_argument);
    });
}

TEST_CASE("the end in the middle says what did come; a limit keeps it") {
    on_each_worker_count([] {
        connection both;
        both.far.write_all("part");
        CHECK_THROWS_AS(both.near.read_exactly(10, 1ms), fiber::timeout_error);
        CHECK_THROWS_AS(both.near.read_until("\n", 100, 1ms), fiber::timeout_error);
        both.far.shutdown();
        try {
            both.near.read_exactly(10);
            FAIL("there are four");
        } catch (const net::incomplete_read& error) {
            CHECK(error.partial() == "part");
            CHECK(error.code() == io::errc::end_of_stream);
        }
        both.near.write_all("line without end");
        both.near.shutdown();
        try {
            both.far.read_until("\n");
            FAIL("there is no line");
        } catch (const net::incomplete_read& error) {
            CHECK(error.partial() == "line without end");
        }
    });
}

TEST_CASE("a reset in the middle of a message is an error that names operation, peer and cause") {
    on_each_worker_count([] {
        connection both;
        auto reading = fiber::spawn([&] { return what_of([&] { both.near.read_exactly(100); }); });
        both.far.write_all("some of it");
        settle();
        both.far.reset();
        const std::string what = reading.get();
        CHECK(what.find("read from " + both.near.peer().to_string()) != std::string::npos);
        CHECK(what.find("reset") != std::string::npos);
        std::error_code error;
        while (!error) (void)both.near.write_some("x", error);
        CHECK((error == std::errc::broken_pipe || error == std::errc::connection_reset));
    });
}

TEST_CASE("a slow reader holds the writer up; memory does not grow; both can be cancelled and timed out") {
    on_each_worker_count([] {
        connection both;
        const std::string block(1 << 20, 'x');
        std::atomic<std::size_t> sent{0};
        auto writing = fiber::spawn([&] {
            for (;;) sent += both.far.write_some(block);
        });
        settle();
        CHECK(sent < 64 << 20);
        CHECK(both.near.read_exactly(1, 1h) == "x");
        CHECK(writing.cancel());
        CHECK_THROWS_AS(writing.get(), fiber::cancelled);
        std::error_code error;
        while (!error) (void)both.far.write_some(block, error, 1ms);
        CHECK(error == std::errc::timed_out);
    });
}

// A write that had to wait took `ready`, and the kernel reports room once more only to one that has found none: so the
// next write, for which there is room, waited for an edge that never came.
TEST_CASE("after a write that had to wait, the next one goes ahead") {
    on_each_worker_count([] {
        connection both;
        const std::string block(1 << 16, 'x');
        std::size_t sent = 0;
        std::error_code error;
        while (!error) sent += both.far.write_some(block, error, 0ms);
        auto writing = fiber::spawn([&] {
            both.far.write_all("this has to wait");
            for (int i = 0; i < 3; ++i) both.far.write_all(".");
        });
        settle();
        both.near.read_exactly(sent);
        CHECK(writing.wait_for(patience));
        CHECK(both.near.read_exactly(19, patience) == "this has to wait...");
    });
}

TEST_CASE("closing wakes reader, writer and accept with an error that says so") {
    on_each_worker_count([] {
        connection both;
        auto reading = fiber::spawn([&] {
            std::error_code error;
            char byte[1];
            (void)both.near.read_some(byte, error);
            CHECK(error == io::errc::closed);
        });
        auto accepting = fiber::spawn([&] {
            std::error_code error;
            (void)both.door.accept(error);
            CHECK(error == io::errc::closed);
        });
        settle();
        both.near.close();
        both.door.close();
        reading.get();
        accepting.get();
        char byte[1];
        CHECK_THROWS_AS(both.near.read_some(byte), std::system_error);
        CHECK(both.far.read_some(byte) == 0);
        CHECK_THROWS_AS(net::stream().read_some(byte), std::system_error);
    });
}

TEST_CASE("refused, unresolvable, nonsense: errors that say so") {
    on_each_worker_count([] {
        std::uint16_t free_port = 0;
        {
            const net::listener gone(loopback());
            free_port = gone.port();
        }
        const std::string refused = what_of([&] { (void)net::connect("127.0.0.1", free_port); });
        CHECK(refused.find("connect to 127.0.0.1:" + std::to_string(free_port)) != std::string::npos);
        CHECK(refused.find("refused") != std::string::npos);
        const std::string unknown = what_of([&] { (void)net::connect("no-such-host.invalid", 80); });
        CHECK(unknown.find("resolve no-such-host.invalid") != std::string::npos);
        CHECK_THROWS_AS(net::endpoint::ip("localhost", 1), fiber::invalid_option);
        CHECK_THROWS_AS(net::endpoint::unix_path(std::string(200, 'x')), fiber::invalid_option);
        const net::listener taken(loopback());
        CHECK(what_of([&] { net::listener again(taken.local()); }).find("bind to 127.0.0.1") != std::string::npos);
        CHECK(net::endpoint::ip("::1", 80).to_string() == "[::1]:80");
    });
}

TEST_CASE("a name that is not resolved in time: the error names it") {
    for_each_worker_count([](unsigned workers) {
        fiber::run({.workers = workers, .offload_threads = 1}, [] {
            std::promise<void> end;
            auto blocked = fiber::run_in_executor([&] { end.get_future().wait(); });  // the one thread for look-ups
            for (const bool only_resolve : {true, false}) {
                try {
                    only_resolve ? (void)net::resolve("localhost", 80, 5ms) : (void)net::connect("localhost", 80, 5ms);
                    FAIL("it cannot have been resolved");
                } catch (const fiber::timeout_error& late) {
                    CHECK(std::string(late.what()).find("resolve localhost") != std::string::npos);
                }
            }
            CHECK(net::resolve("127.0.0.1", 80, 5ms).size() == 1);  // nobody need be asked
            end.set_value();
            blocked.get();
        });
    });
}

TEST_CASE("names are resolved and connected to; IPv6 and Unix sockets, too") {
    on_each_worker_count([] {
        const net::listener four(loopback());
        net::stream by_name = net::connect("localhost", four.port());
        CHECK(by_name.is_open());
        const std::string path(std::string(1, '\0') + "fiber-net-test-" + std::to_string(::getpid()));
        net::listener local(net::endpoint::unix_path(path));
        net::stream far = net::connect(local.local());
        net::stream near = local.accept();
        far.write_all("through the file system");
        CHECK(near.read_exactly(23) == "through the file system");
        try {
            net::listener six("::1", 0);
            net::stream to_six = net::connect(six.local());
            CHECK(to_six.peer().family() == AF_INET6);
        } catch (const std::system_error& none) {
            MESSAGE("no IPv6 here: " << none.what());
        }
    });
}

TEST_CASE("datagrams: whole messages with their sender; cut off if asked for less; refused comes back") {
    on_each_worker_count([] {
        net::datagram_socket a(loopback());
        net::datagram_socket b(loopback());
        a.send_to("hello", b.local());
        char block[64];
        net::endpoint from;
        CHECK(b.receive_from(block, from) == 5);
        CHECK(from == a.local());
        a.send_to("longer than four", b.local());
        bool cut_off = false;
        CHECK(b.receive_from(io::mutable_bytes(block, 4), from, {}, &cut_off) == 4);
        CHECK(cut_off);
        CHECK_THROWS_AS(b.receive(block, 1ms), fiber::timeout_error);
        const net::endpoint gone = a.local();
        a.close();
        b.connect(gone);
        std::error_code error;
        b.send("anybody?");
        (void)b.receive_from(block, from, error, patience);
        CHECK(error == std::errc::connection_refused);
        // The error is gone: this waits.
        CHECK(what_of<fiber::timeout_error>([&] { (void)b.receive(block, 1ms); }) ==
              "fiber: receive from " + gone.to_string() + ": timed out");
    });
}

TEST_CASE("a server serves many at once, and stops gracefully: accepts no more, lets handlers end, cancels the rest") {
    on_each_worker_count([] {
        net::listener door(loopback());
        const net::endpoint where = door.local();
        std::atomic<int> cancelled_handlers{0};
        std::atomic<int> ended_handlers{0};
        auto serving = fiber::spawn([&] {
            net::serve(door,
                       [&](net::stream peer) {
                           try {
                               echo(std::move(peer));
                               ++ended_handlers;
                           } catch (const fiber::cancelled&) {
                               ++cancelled_handlers;
                               throw;
                           }
                       },
                       {.grace = 20ms});
        });
        std::vector<fiber::task<void>> clients;
        for (int i = 0; i < scaled(50); ++i) {
            clients.push_back(fiber::spawn([&, i] {
                net::stream self = net::connect(where);
                for (int k = 0; k < 10; ++k) {
                    const std::string text = std::to_string(i) + " " + std::to_string(k) + "\n";
                    self.write_all(text);
                    CHECK(self.read_until("\n", 100, patience) == text);
                }
            }));
        }
        fiber::gather(clients);
        net::stream lingering = net::connect(where);
        lingering.write_all("x");
        CHECK(lingering.read_exactly(1) == "x");
        CHECK(yield_until([&] { return ended_handlers == scaled(50); }));  // on a slow machine later than the grace
        door.close();
        serving.get();
        CHECK(cancelled_handlers == 1);
        char byte[1];
        CHECK(lingering.read_some(byte) == 0);
        CHECK_THROWS_AS(net::connect(where), std::system_error);
    });
}

TEST_CASE("no more connections at once than the limit; the others wait; cancelling the server ends it") {
    on_each_worker_count([] {
        net::listener door(loopback());
        const net::endpoint where = door.local();
        std::atomic<int> present{0}, most{0};
        auto serving = fiber::spawn([&] {
            net::serve(door,
                       [&](net::stream peer) {
                           const int now = ++present;
                           for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
                           }
                           echo(std::move(peer));
                           --present;
                       },
                       {.max_connections = 3});
        });
        std::vector<fiber::task<void>> clients;
        for (int i = 0; i < 12; ++i) {
            clients.push_back(fiber::spawn([&] {
                net::stream self = net::connect(where);
                self.write_all("x");
                CHECK(self.read_exactly(1) == "x");
            }));
        }
        fiber::gather(clients);
        CHECK(most <= 3);
        CHECK(serving.cancel());
        CHECK_THROWS_AS(serving.get(), fiber::cancelled);
    });
}

#if !FIBER_TSAN
TEST_CASE("out of descriptors: the server waits, keeps going, and serves when there are some again") {
    on_each_worker_count([] {
        net::listener door(loopback());
        const net::endpoint where = door.local();
        auto serving = fiber::spawn([&] { net::serve(door, echo, {.grace = 0ms}); });
        net::stream warm_up = net::connect(where);
        warm_up.write_all("x");
        CHECK(warm_up.read_exactly(1) == "x");
        net::stream client = [&] {
            io::descriptor reserve(::dup(0));  // for the client's own socket
            return net::connect(where);
        }();
        client.write_all("x");
        CHECK(client.read_exactly(1) == "x");
        rlimit before;
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
        std::vector<int> all;
        while (all.size() < 50) all.push_back(::dup(0));
        const rlim_t lowest = static_cast<rlim_t>(all.back()) + 1;
        const rlimit tight{lowest, before.rlim_max};
        ::close(all.back());
        all.pop_back();
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
        // One descriptor is left: the client's. The server's accept finds none.
        net::stream late = net::connect(where);
        late.write_all("y");
        CHECK_THROWS_AS(late.read_exactly(1, 5ms), fiber::timeout_error);
        CHECK_THROWS_AS((void)net::connect(where), std::system_error);
        for (const int fd : all) ::close(fd);
        CHECK(late.read_exactly(1, patience) == "y");
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
        door.close();
        serving.get();
    });
}
#endif

TEST_CASE("a storm of connections, opened and reset at random, leaves nothing behind") {
    on_each_worker_count([] {
        net::listener door(loopback());
        const net::endpoint where = door.local();
        std::atomic<int> handlers{0};
        auto serving = fiber::spawn([&] {
            net::serve(door,
                       [&](net::stream peer) {
                           const tracked here(1);
                           ++handlers;
                           std::error_code error;
                           char block[256];
                           while (!error) {
                               const std::size_t count = peer.read_some(block, error, 5s);
                               if (count == 0) break;
                               (void)peer.write_all(io::const_bytes(block, count), error, 5s);
                           }
                       },
                       {.grace = 1'000ms});
        });
        fiber::counting_semaphore<> at_once(100);
        std::vector<fiber::task<void>> clients;
        for (int i = 0; i < scaled(1000); ++i) {
            clients.push_back(fiber::spawn([&, i] {
                fiber_test::random dice(static_cast<std::uint64_t>(i));
                at_once.acquire();
                {
                    net::stream self = net::connect(where);
                    std::error_code error;
                    char block[256];
                    for (std::uint64_t k = dice.below(4); k > 0 && !error; --k) {
                        (void)self.write_all(std::string(1 + dice.below(200), 'x'), error);
                        if (dice.below(2) == 0)
                            (void)self.read_some(block, error, std::chrono::microseconds(dice.below(500)));
                    }
                    if (dice.below(2) == 0) self.reset();
                }
                at_once.release();
            }));
        }
        fiber::gather(clients);
        door.close();
        serving.get();
    });
}
