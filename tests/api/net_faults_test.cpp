// Peers that stall, vanish, trickle and do not read; several addresses of which some are dead; errors that name
// operation, peer and cause; and no wake-ups while all connections are quiet.
#include <fstream>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/api/net_fixture.hpp"
#include "tests/api/virtual_time.hpp"

using namespace fiber::test;
namespace io = fiber::io;
namespace net = fiber::net;

namespace {

// An address that answers nothing: its backlog is full, and the kernel drops what comes.
class black_hole {
 public:
    black_hole() {
        std::error_code error;
        while (!error) {
            net::stream next = connect_within_reason(error);
            if (next.is_open()) inside_.push_back(std::move(next));
        }
    }
    net::endpoint where() const { return door_.local(); }

 private:
    net::stream connect_within_reason(std::error_code& error) {
        try {
            return net::connect(door_.local(), 20ms);
        } catch (const fiber::timeout_error&) {
            error = std::make_error_code(std::errc::timed_out);
            return {};
        }
    }

    net::listener door_{loopback(), {}, 0};
    std::vector<net::stream> inside_;
};

net::endpoint refusing() {
    const net::listener gone(loopback());
    return gone.local();
}

}  // namespace

TEST_CASE("happy eyeballs: the second address a quarter of a second after a silent first, at once after a refusal") {
    in_virtual_time([] {
        const black_hole silent;
        net::listener good(loopback());
        auto start = virtual_now();
        const net::stream second = net::detail::connect_to_first({silent.where(), good.local()}, {}, {});
        CHECK(took(start, 250ms));
        CHECK(second.peer() == good.local());
        start = virtual_now();
        const net::stream after_refusal = net::detail::connect_to_first({refusing(), good.local()}, {}, {});
        CHECK(took(start, 0ms));
        start = virtual_now();
        const net::stream third =
            net::detail::connect_to_first({silent.where(), refusing(), silent.where(), good.local()}, {}, {});
        CHECK(took(start, 500ms));  // the refusal brings the one behind it forward
        start = virtual_now();
        const net::stream first = net::detail::connect_to_first({good.local(), silent.where()}, {}, {});
        CHECK(took(start, 0ms));
    });
}

TEST_CASE("happy eyeballs: if all fail, the first failure is told; a limit and a cancellation end all attempts") {
    in_virtual_time([] {
        const black_hole silent;
        const net::endpoint one = refusing();
        CHECK(has(what_of([&] {
                      (void)net::detail::connect_to_first({one, refusing()}, {}, {});
                  }),
                  "connect to " + one.to_string()));
        auto start = virtual_now();
        CHECK_THROWS_AS((void)net::detail::connect_to_first({silent.where(), silent.where()}, 1s, {}),
                        fiber::timeout_error);
        CHECK(took(start, 1s));
        auto trying = fiber::spawn([&] {
            (void)net::detail::connect_to_first({silent.where(), silent.where()}, {}, {});
        });
        fiber::sleep_for(1s);
        CHECK(trying.cancel());
        CHECK_THROWS_AS(trying.get(), fiber::cancelled);
    });
}

TEST_CASE("one who sends a byte now and then does not keep a handler longer than the limit of the request") {
    in_virtual_time([] {
        net::listener door(loopback());
        std::atomic<int> given_up{0}, served{0};
        auto serving = fiber::spawn([&] {
            net::serve(door, [&](net::stream peer) {
                std::error_code error;
                std::string line;
                peer.read_until(line, "\n", 100, error, 5s);
                if (error) {
                    CHECK(error == std::errc::timed_out);
                    ++given_up;
                } else {
                    ++served;
                    peer.write_all(line);
                }
            });
        });
        const auto start = virtual_now();
        net::stream trickle = net::connect(door.local());
        auto trickling = fiber::spawn([&] {
            std::error_code error;
            for (int sent = 0; !error; ++sent) {
                (void)trickle.write_all("x", error);
                fiber::sleep_for(1s);
                if (sent > 60) return false;
            }
            return true;  // the server has closed
        });
        fiber::sleep_for(2s);
        net::stream other = net::connect(door.local());
        other.write_all("hello\n");
        CHECK(other.read_until("\n", 100, 1h) == "hello\n");
        char byte;
        std::error_code end;
        CHECK(trickle.read_some({&byte, 1}, end, 1h) == 0);
        CHECK(virtual_now() - start < 6s);
        CHECK(trickling.get());
        CHECK(given_up == 1);
        CHECK(served == 1);
        door.close();
        serving.get();
    });
}

TEST_CASE("one who asks and does not read: the handler is held up, then given up; nothing is kept for him") {
    in_virtual_time([] {
        net::listener door(loopback());
        std::atomic<std::size_t> sent{0};
        fiber::event given_up;
        auto serving = fiber::spawn([&] {
            net::serve(door, [&](net::stream peer) {
                const std::string block(1 << 16, 'x');
                std::error_code why;
                while (!why) {
                    // Room that the kernel makes just as a limit passes is for the next write, with its own limit.
                    const auto start = virtual_now();
                    sent += peer.write_all(block, why, 10s);
                    if (why) CHECK(took(start, 10s));
                }
                CHECK(why == std::errc::timed_out);
                given_up.set();
            });
        });
        const net::stream client = net::connect(door.local());
        CHECK(given_up.wait_for(1h));
        CHECK(sent > 0);
        CHECK(sent < 64 << 20);  // what the kernel's buffers hold
        door.close();
        serving.get();
    });
}

TEST_CASE("a peer that has vanished without a word: limits end the wait, and the next write brings the truth") {
    on_each_worker_count([] {
        connection both;
        // A socket in repair mode goes without telling the other side, as a machine does whose power fails.
        const int on = 1;
        if (::setsockopt(both.far.native_handle(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) != 0) {
            MESSAGE("not allowed to let a connection vanish: not tested");
            return;
        }
        both.far.close();
        char byte;
        CHECK_THROWS_AS((void)both.near.read_some({&byte, 1}, 5ms), fiber::timeout_error);
        both.near.write_all("is anybody there?");  // the kernel takes it
        const std::string what = what_of([&] { (void)both.near.read_some({&byte, 1}, patience); });
        CHECK(has(what, "read from " + both.near.peer().to_string()));
        CHECK(has(what, "reset"));
    });
}

TEST_CASE("every error says the operation, the peer and the cause") {
    on_each_worker_count([] {
        connection both;
        const std::string peer = both.near.peer().to_string();
        char byte;
        CHECK(has(what_of<fiber::timeout_error>([&] {
                      (void)both.near.read_some({&byte, 1}, 1ms);
                  }),
                  "read from " + peer + ": timed out"));
        CHECK(has(what_of<fiber::timeout_error>([&] { (void)both.near.read_until("\n", 10, 1ms); }),
                  "read from " + peer + ": timed out"));
        CHECK(has(what_of<fiber::timeout_error>([&] {
                      for (;;) both.near.write_all(std::string(1 << 20, 'x'), 1ms);
                  }),
                  "write to " + peer + ": timed out"));
        const std::string door = both.door.local().to_string();
        CHECK(has(what_of<fiber::timeout_error>([&] { (void)both.door.accept(1ms); }), "accept on " + door));
        both.far.reset();
        const std::string reset = what_of([&] {
            while (both.near.read_some({&byte, 1}, patience) != 0) {
            }
        });
        CHECK(has(reset, "read from " + peer));
        CHECK(has(reset, "reset"));
        const std::string broken = what_of([&] { both.near.write_all("x"); });
        CHECK(has(broken, "write to " + peer));
        CHECK((has(broken, "pipe") || has(broken, "reset")));
        both.near.close();
        CHECK(has(what_of([&] { (void)both.near.read_some({&byte, 1}); }), "closed"));
        const std::string gone = refusing().to_string();
        CHECK(has(what_of([&] { (void)net::connect(net::endpoint::ip("127.0.0.1", refusing().port())); }),
                  "connect to 127.0.0.1:"));
        CHECK(has(what_of([&] { net::listener again(both.door.local()); }), "bind to " + door));
        CHECK(has(what_of([&] { (void)net::resolve("no-such-host.invalid", 1); }), "resolve no-such-host.invalid: "));
        CHECK(has(what_of([] { (void)net::datagram_socket().send("x"); }), "closed"));
        const std::string_view unheard("\0no\0body", 8);  // zero bytes would end the message before the cause
        CHECK(what_of([&] { (void)net::connect(net::endpoint::unix_path(unheard)); }) ==
              "fiber: connect to unix:@no@body: Connection refused");
    });
}

// The kernel says once that a connection was reset. If the writer came first, the reader was told of an end, and took what
// had come for all.
TEST_CASE("a reset that the writer has heard of is no end to the reader") {
    on_each_worker_count([] {
        connection both;
        auto reading = fiber::spawn([&] { return what_of([&] { (void)both.near.read_until("\n"); }); });
        both.far.write_all("a part of it");
        settle();
        both.far.reset();
        std::error_code error;
        while (!error) (void)both.near.write_some("x", error);
        CHECK((error == std::errc::connection_reset || error == std::errc::broken_pipe));
        const std::string wanted = "read from " + both.near.peer().to_string();
        for (const std::string& what : {reading.get(), what_of([&] { (void)both.near.read_until("\n"); }),
                                        what_of([&] { (void)both.near.read_exactly(100); })}) {
            CHECK(has(what, wanted));
            CHECK(has(what, "reset"));
        }
        CHECK(both.near.read_exactly(12) == "a part of it");  // what came before is there
        std::string rest;
        both.near.read_all(rest, 100, error);
        CHECK(error == std::errc::connection_reset);
    });
}

TEST_CASE("while all connections are quiet no worker wakes up") {
    if (sanitized) return;  // their own threads wake up when they like
    for (const unsigned workers : worker_counts) {
        runtime_fixture fixture(workers);
        fixture.run([&] {
            std::vector<std::unique_ptr<connection>> all;
            std::vector<fiber::task<void>> readers;
            for (int i = 0; i < 20; ++i) {
                all.push_back(std::make_unique<connection>());
                readers.push_back(fiber::spawn([&mine = *all.back()] {
                    char byte;
                    while (mine.near.read_some({&byte, 1}) == 1) mine.near.write_all(io::const_bytes(&byte, 1));
                }));
                char byte;
                all.back()->far.write_all("x");
                CHECK(all.back()->far.read_some({&byte, 1}) == 1);
            }
            fiber::promise<void> measured;
            std::thread outside([&] {
                const auto used = [] {
                    rusage all_threads{}, this_thread{};
                    ::getrusage(RUSAGE_SELF, &all_threads);
                    ::getrusage(RUSAGE_THREAD, &this_thread);
                    return all_threads.ru_nvcsw - this_thread.ru_nvcsw;
                };
                // Some time after the last work: stacks go back to the system, once.
                bool quiet = false;
                for (int look = 0; look < 20 && !quiet; ++look) {
                    const long before = used();
                    std::this_thread::sleep_for(1500ms);
                    quiet = used() == before;
                }
                CHECK(quiet);
                measured.set_value();
            });
            measured.get_future().get();
            outside.join();
            for (auto& each : all) each->far.shutdown();
            fiber::gather(readers);
        });
    }
}
