// net::serve() at its edges: the stop of a server that waits for room or for descriptors, listeners that fail, handlers
// that throw, several servers on one listener.
#include <fcntl.h>
#include <memory>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/api/net_fixture.hpp"
#include "tests/api/virtual_time.hpp"

using namespace fiber::test;
namespace io = fiber::io;
namespace net = fiber::net;

namespace {

// Reads until the end, and counts those who are there and those who were cancelled.
struct audience {
    std::atomic<int> came{0}, cancelled{0};

    void operator()(net::stream peer) {
        ++came;
        try {
            char byte;
            std::error_code error;
            while (peer.read_some({&byte, 1}, error) != 0) (void)peer.write_all(io::const_bytes(&byte, 1), error);
        } catch (const fiber::cancelled&) {
            ++cancelled;
            throw;
        }
    }
};

}  // namespace

// It waited for room only: the stop came when the first of its clients left, which may be never.
TEST_CASE("a server that is at its limit hears that its listener was closed") {
    in_virtual_time([] {
        net::listener door(loopback());
        audience heard;
        auto serving = fiber::spawn([&] {
            net::serve(door, [&](net::stream peer) { heard(std::move(peer)); }, {.max_connections = 2, .grace = 3s});
        });
        std::vector<net::stream> clients;
        for (int i = 0; i < 3; ++i) clients.push_back(net::connect(door.local()));
        CHECK(yield_until([&] { return heard.came == 2; }));
        settle();
        const auto start = virtual_now();
        door.close();
        CHECK(serving.wait_for(1h));
        CHECK(took(start, 3s));
        CHECK(heard.came == 2);
        CHECK(heard.cancelled == 2);
        serving.get();
    });
}

TEST_CASE("at its limit a server goes on with whoever waits as soon as another has left, and is cancelled as ever") {
    on_each_worker_count([] {
        net::listener door(loopback());
        audience heard;
        auto serving = fiber::spawn([&] {
            net::serve(door, [&](net::stream peer) { heard(std::move(peer)); }, {.max_connections = 1, .grace = 0ms});
        });
        for (int i = 0; i < scaled(200); ++i) {
            net::stream first = net::connect(door.local());
            net::stream second = net::connect(door.local());
            first.write_all("1");
            second.write_all("2");
            CHECK(first.read_exactly(1, patience) == "1");
            first.close();
            CHECK(second.read_exactly(1, patience) == "2");
        }
        net::stream last = net::connect(door.local());
        last.write_all("3");
        CHECK(last.read_exactly(1, patience) == "3");
        settle();
        CHECK(serving.cancel());
        CHECK_THROWS_AS(serving.get(), fiber::cancelled);
        CHECK(heard.cancelled == 1);
    });
}

TEST_CASE("close, room and cancellation race at a server's limit: it ends, and nothing is left") {
    on_each_worker_count([] {
        for (int i = 0; i < scaled(300); ++i) {
            net::listener door(loopback());
            audience heard;
            auto serving = fiber::spawn([&] {
                net::serve(door, [&](net::stream peer) { heard(std::move(peer)); },
                           {.max_connections = 1, .grace = 0ms});
            });
            net::stream first = net::connect(door.local());
            net::stream second = net::connect(door.local());
            if (i % 4 == 0) settle();
            auto leaving = fiber::spawn([&] { first.close(); });
            auto closing = fiber::spawn([&] { i % 3 == 0 ? (void)serving.cancel() : door.close(); });
            CHECK(serving.wait_for(patience));
            fiber::gather(leaving, closing);
        }
    });
}

#if !FIBER_TSAN
// It slept for its pause, half a second at most, and looked at the listener only then.
TEST_CASE("a server that waits for descriptors hears at once that its listener was closed") {
    in_virtual_time([] {
        net::listener door(loopback());
        audience heard;
        auto serving =
            fiber::spawn([&] { net::serve(door, [&](net::stream peer) { heard(std::move(peer)); }, {.grace = 0ms}); });
        net::stream first = net::connect(door.local());
        CHECK(yield_until([&] { return heard.came == 1; }));
        rlimit before;
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
        std::vector<int> all;
        while (all.size() < 50) all.push_back(::dup(0));
        const rlimit tight{static_cast<rlim_t>(all.back()) + 1, before.rlim_max};
        ::close(all.back());
        all.pop_back();
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
        net::stream late = net::connect(door.local());  // with the last descriptor: the server finds none
        fiber::sleep_for(10'100ms);
        CHECK(heard.came == 1);
        const auto start = virtual_now();
        door.close();
        CHECK(serving.wait_for(1h));
        CHECK(took(start, 0ms));
        for (const int fd : all) ::close(fd);
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
        serving.get();
    });
}
#endif

TEST_CASE(
    "a listener that fails for good ends the server with an error that names it; so does a thread without fibers") {
    on_each_worker_count([] {
        net::listener door(loopback());
        const std::string where = door.local().to_string();
        auto serving = fiber::spawn([&] { net::serve(door, [](net::stream) {}); });
        settle();
        ::shutdown(door.native_handle(), SHUT_RDWR);  // accept(2) is EINVAL from here on
        try {
            serving.get();
            FAIL("it cannot accept");
        } catch (const std::system_error& error) {
            CHECK(has(error.what(), "accept on " + where));
            CHECK(error.code() == std::errc::invalid_argument);
        }
    });
    net::listener door(loopback());
    CHECK_THROWS_AS(net::serve(door, [](net::stream) {}), fiber::usage_error);
}

TEST_CASE("a handler that throws is reported, its connection ends, and the server goes on; handlers may be move-only") {
    for_each_worker_count([](unsigned workers) {
        std::atomic<int> reported{0};
        runtime_fixture fixture(fiber::runtime_options{
            .workers = workers, .on_unretrieved_exception = [&](const fiber::unretrieved_exception&) { ++reported; }});
        fixture.run([&] {
            net::listener door(loopback());
            auto own = std::make_unique<std::string>("handler");
            auto serving = fiber::spawn([&, own = std::move(own)]() mutable {
                net::serve(door,
                           [own = std::move(own)](net::stream peer) {
                               const std::string line = peer.read_until("\n");
                               if (line == "throw\n") throw std::runtime_error(*own);
                               peer.write_all(line);
                           },
                           {.max_connections = 0});  // no limit
            });
            for (int i = 0; i < 10; ++i) {
                net::stream bad = net::connect(door.local());
                bad.write_all("throw\n");
                char byte;
                CHECK(bad.read_some({&byte, 1}, patience) == 0);
                net::stream good = net::connect(door.local());
                good.write_all("hello\n");
                CHECK(good.read_until("\n", 100, patience) == "hello\n");
            }
            door.close();
            serving.get();
            CHECK(yield_until([&] { return reported == 10; }));
        });
    });
}

TEST_CASE("several servers on one listener, and several listeners on one port") {
    on_each_worker_count([] {
        const net::socket_options shared{.reuse_port = true};
        net::listener first(loopback(), shared);
        net::listener second(first.local(), shared);
        audience heard;
        std::vector<fiber::task<void>> servers;
        for (net::listener* door : {&first, &first, &second}) {
            servers.push_back(fiber::spawn([&heard, door] {
                net::serve(*door, [&](net::stream peer) { heard(std::move(peer)); }, {.max_connections = 2});
            }));
        }
        std::vector<fiber::task<void>> clients;
        for (int i = 0; i < 40; ++i) {
            clients.push_back(fiber::spawn([&] {
                net::stream self = net::connect(first.local());
                self.write_all("x");
                CHECK(self.read_exactly(1, patience) == "x");
            }));
        }
        fiber::gather(clients);
        CHECK(heard.came == 40);
        first.close();
        second.close();
        fiber::gather(servers);
    });
}
