// Waiting for descriptors, with pipes and socket pairs: edges, limits, cancellation and close; who owns the number.
#include "fiber/io.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/api/fixture.hpp"
#include "tests/api/virtual_time.hpp"

using namespace fiber::test;
namespace io = fiber::io;

namespace {

struct raw_pair {
    raw_pair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0); }
    ~raw_pair() {
        for (const int end : ends) {
            if (end >= 0) ::close(end);
        }
    }
    raw_pair(const raw_pair&) = delete;
    raw_pair& operator=(const raw_pair&) = delete;

    int take(int which) { return std::exchange(ends[which], -1); }

    int ends[2];
};

struct pair {
    raw_pair raw;
    io::descriptor near{raw.take(0)};
    io::descriptor far{raw.take(1)};
};

void send_byte(int fd) { CHECK(::send(fd, "x", 1, MSG_NOSIGNAL) == 1); }

void fill(int fd) {
    const std::string block(65'536, 'x');
    while (::send(fd, block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
    }
}

void drain(int fd) {
    std::string block(65'536, 'x');
    while (::recv(fd, block.data(), block.size(), MSG_DONTWAIT) > 0) {
    }
}

}  // namespace

// --- descriptors of the caller's own ---

TEST_CASE("a fiber waits until a descriptor of its own is readable, others run meanwhile") {
    on_each_worker_count([] {
        raw_pair both;
        std::atomic<bool> ready{false};
        auto reader = fiber::spawn([&] {
            for (int i = 0; i < 3; ++i) {
                io::wait_readable(both.ends[0]);
                CHECK(ready.exchange(false));
                char byte;
                CHECK(::recv(both.ends[0], &byte, 1, 0) == 1);
            }
        });
        for (int i = 0; i < 3; ++i) {
            settle();
            CHECK_FALSE(reader.done());
            ready = true;
            send_byte(both.ends[1]);
            CHECK(yield_until([&] { return !ready; }));
        }
        reader.get();
        io::wait_writable(both.ends[0]);
    });
}

TEST_CASE("two fibers wait for one descriptor of their own, one to read and one to write") {
    on_each_worker_count([] {
        raw_pair both;
        fill(both.ends[0]);
        auto writer = fiber::spawn([&] { io::wait_writable(both.ends[0]); });
        auto reader = fiber::spawn([&] { io::wait_readable(both.ends[0]); });
        auto another = fiber::spawn([&] { io::wait_readable(both.ends[0]); });
        settle();
        CHECK_FALSE(writer.done());
        CHECK_FALSE(reader.done());
        drain(both.ends[1]);
        writer.get();
        settle();
        CHECK_FALSE(reader.done());
        send_byte(both.ends[1]);
        fiber::gather(std::move(reader), std::move(another));
    });
}

TEST_CASE("limits and cancellation end a wait and leave nothing behind") {
    on_each_worker_count([] {
        raw_pair both;
        CHECK_FALSE(io::wait_readable_for(both.ends[0], 1ms));
        CHECK_FALSE(io::wait_readable_for(both.ends[0], 0s));
        CHECK_FALSE(io::wait_readable_until(both.ends[0], std::chrono::steady_clock::now()));
        CHECK(io::wait_writable_for(both.ends[0], 0s));
        CHECK(io::wait_writable_until(both.ends[0], std::chrono::steady_clock::now() + 1h));
        auto waiting = fiber::spawn([&] { io::wait_readable(both.ends[0]); });
        settle();
        CHECK(waiting.cancel("enough"));
        CHECK_THROWS_AS(waiting.get(), fiber::cancelled);
        CHECK_THROWS_AS(fiber::with_timeout(1ms, [&] { io::wait_readable(both.ends[0]); }), fiber::timeout_error);
        send_byte(both.ends[1]);
        CHECK(io::wait_readable_for(both.ends[0], 1h));
        auto late = fiber::spawn([&] {
            fiber::this_fiber::cancel();
            io::wait_readable(both.ends[0]);
            FAIL("the cancellation was lost");
        });
        CHECK_THROWS_AS(late.get(), fiber::cancelled);
    });
}

TEST_CASE("files are always ready; no descriptor is an error that names the operation") {
    on_each_worker_count([] {
        const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        io::wait_readable(file);
        io::wait_writable(file);
        ::close(file);
        try {
            io::wait_readable(file);
            FAIL("that descriptor is closed");
        } catch (const std::system_error& error) {
            CHECK(error.code() == std::errc::bad_file_descriptor);
            CHECK(std::string(error.what()).find("wait until readable") != std::string::npos);
        }
        CHECK_THROWS_AS(io::wait_writable(-1), std::system_error);
        CHECK_THROWS_AS(io::descriptor(-1), std::system_error);
    });
}

TEST_CASE("plain threads wait, too") {
    raw_pair both;
    CHECK_FALSE(io::wait_readable_for(both.ends[0], 1ms));
    std::thread sender([&] { send_byte(both.ends[1]); });
    io::wait_readable(both.ends[0]);
    sender.join();
    io::descriptor near(both.take(0));
    char byte;
    CHECK(near.read_some({&byte, 1}) == 1);
    std::thread reader([&] {
        std::error_code error;
        char late;
        CHECK(near.read_some({&late, 1}, error) == 0);
        CHECK(error == io::errc::closed);
    });
    settle_threads();
    near.close();
    reader.join();
}

// --- descriptors that are owned ---

TEST_CASE("bytes go through, both ways at once; a write waits while the other side does not read") {
    on_each_worker_count([] {
        pair both;
        static constexpr std::size_t total = 4'000'000;
        const auto send = [](io::descriptor& to) {
            std::string block(50'000, 'x');
            for (std::size_t sent = 0; sent < total;) {
                const std::size_t size = std::min(block.size(), total - sent);
                sent += to.write_some(io::const_bytes(block.data(), size));
            }
        };
        const auto receive = [](io::descriptor& from) {
            std::string block(30'000, ' ');
            std::size_t received = 0;
            while (received < total) {
                const std::size_t count = from.read_some(block);
                REQUIRE(count != 0);
                CHECK(block[count - 1] == 'x');
                received += count;
            }
            CHECK(received == total);
        };
        (void)fiber::gather([&] { send(both.near); }, [&] { receive(both.near); }, [&] { send(both.far); },
                            [&] { receive(both.far); });
        both.far.close();
        char byte;
        CHECK(both.near.read_some({&byte, 1}) == 0);
        CHECK(both.near.read_some({&byte, 1}) == 0);
        std::error_code error;
        CHECK(both.near.write_some("x", error) == 0);
        CHECK(error == std::errc::broken_pipe);
    });
}

TEST_CASE("close wakes all who wait, reader and writer, with an error that says so; the number is given back") {
    on_each_worker_count([] {
        pair both;
        const int number = both.near.native_handle();
        fill(number);
        std::atomic<int> woken{0};
        std::vector<fiber::task<void>> all;
        for (int i = 0; i < 4; ++i) {
            all.push_back(fiber::spawn([&, i] {
                std::error_code error;
                char byte;
                if (i % 2 == 0) {
                    (void)both.near.read_some({&byte, 1}, error);
                } else {
                    (void)both.near.write_some("x", error);
                }
                CHECK(error == io::errc::closed);
                ++woken;
            }));
        }
        settle();
        CHECK(both.near.is_open());
        both.near.close();
        CHECK_FALSE(both.near.is_open());
        for (auto& one : all) one.get();
        CHECK(woken == 4);
        CHECK(::fcntl(number, F_GETFD) == -1);
        both.near.close();
        CHECK(both.near.native_handle() == -1);
        try {
            char byte;
            both.near.read_some({&byte, 1});
            FAIL("that descriptor is closed");
        } catch (const std::system_error& error) {
            CHECK(error.code() == io::errc::closed);
        }
        io::descriptor nothing;
        CHECK_FALSE(nothing.is_open());
        CHECK_THROWS_AS(nothing.wait_readable(), std::system_error);
    });
}

TEST_CASE("limits of reads and writes; nothing is lost") {
    on_each_worker_count([] {
        pair both;
        char byte = ' ';
        CHECK_THROWS_AS(both.near.read_some({&byte, 1}, 1ms), fiber::timeout_error);
        std::error_code error;
        CHECK(both.near.read_some({&byte, 1}, error, 0s) == 0);
        CHECK(error == std::errc::timed_out);
        CHECK(both.far.write_some("ab") == 2);
        CHECK(both.near.read_some({&byte, 1}, error, 0s) == 1);
        CHECK_FALSE(error);
        CHECK(byte == 'a');
        CHECK(both.near.read_some({&byte, 1}, error, std::chrono::steady_clock::now() + 1h) == 1);
        CHECK(byte == 'b');
        fill(both.near.native_handle());
        CHECK_THROWS_AS(both.near.write_some("x", 1ms), fiber::timeout_error);
        CHECK_THROWS_AS(both.near.wait_writable(1ms), fiber::timeout_error);
        drain(both.far.native_handle());
        both.near.wait_writable(1h);
        CHECK(both.near.write_some("x", 1h) == 1);
        both.far.wait_readable(1h);
        both.far.wait_readable();  // still: nothing was read
    });
}

TEST_CASE("pipes: the end is an end, a broken one is an error and no signal") {
    on_each_worker_count([] {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        io::descriptor out(ends[0]);
        io::descriptor in(ends[1]);
        auto reader = fiber::spawn([&] {
            std::string all;
            char block[16];
            while (const std::size_t count = out.read_some(block)) all.append(block, count);
            return all;
        });
        settle();
        CHECK(in.write_some("through a pipe") == 14);
        in.close();
        CHECK(reader.get() == "through a pipe");
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        ::close(ends[0]);
        io::descriptor broken(ends[1]);
        std::error_code error;
        CHECK(broken.write_some("x", error) == 0);
        CHECK(error == std::errc::broken_pipe);
    });
}

TEST_CASE("release gives the number up, open") {
    on_each_worker_count([] {
        pair both;
        char byte;
        CHECK_THROWS_AS(both.near.read_some({&byte, 1}, 100us), fiber::timeout_error);  // it is watched
        const int number = both.near.release();
        CHECK(both.near.release() == -1);
        CHECK(::fcntl(number, F_GETFD) >= 0);
        io::descriptor again(number);
        auto reader = fiber::spawn([&] { return again.read_some({&byte, 1}); });
        settle();
        CHECK(both.far.write_some("x") == 1);
        CHECK(reader.get() == 1);
    });
}

TEST_CASE("a descriptor outlives its runtime, and goes over to the next") {
    pair both;
    for (const unsigned workers : worker_counts) {
        fiber::run({.workers = workers}, [&] {
            auto reader = fiber::spawn([&] {
                char byte;
                CHECK(both.near.read_some({&byte, 1}) == 1);
            });
            fiber::yield();
            CHECK(both.far.write_some("x") == 1);
            reader.get();
        });
    }
    CHECK(both.far.write_some("x") == 1);
    char byte;
    CHECK(both.near.read_some({&byte, 1}) == 1);
}

TEST_CASE("one who is never hindered does not starve the others") {
    on_each_worker_count([] {
        pair both;
        std::atomic<bool> stop{false};
        auto greedy = fiber::spawn([&] {
            char byte;
            while (!stop) {
                CHECK(both.near.write_some("x") == 1);
                CHECK(both.far.read_some({&byte, 1}) == 1);
            }
        });
        for (int i = 0; i < 10; ++i) fiber::yield();
        stop = true;
        greedy.get();
    });
}

TEST_CASE("an idle worker serves descriptors while another is stuck in a computation") {
    for (const unsigned workers : {2u, 4u, 16u}) {
        runtime_fixture fixture(workers);
        fixture.run([&] {
            pair both;
            std::atomic<int> echoed{0};
            auto echo = fiber::spawn([&] {
                char byte;
                while (both.near.read_some({&byte, 1}) == 1) {
                    ++echoed;
                    both.near.write_some({&byte, 1});
                }
            });
            settle();
            for (int i = 0; i < 5; ++i) {
                send_byte(both.far.native_handle());
                CHECK(spin_until([&] { return echoed == i + 1; }));  // this worker does nothing else
            }
            drain(both.far.native_handle());
            both.far.close();
            echo.get();
        });
    }
}

TEST_CASE("in virtual time what is ready comes before the time moves, and waits have limits all the same") {
    in_virtual_time([] {
        pair both;
        auto echo = fiber::spawn([&] {
            char byte;
            while (both.near.read_some({&byte, 1}) == 1) both.near.write_some({&byte, 1});
        });
        const auto start = virtual_now();
        for (int i = 0; i < scaled(100); ++i) {
            char byte;
            CHECK(both.far.write_some("x") == 1);
            CHECK(both.far.read_some({&byte, 1}, 1h) == 1);
        }
        CHECK(virtual_now() == start);
        char byte;
        CHECK_THROWS_AS(both.far.read_some({&byte, 1}, 1h), fiber::timeout_error);
        CHECK(took(start, 1h));
        both.far.close();
        echo.get();
    });
}

TEST_CASE("waits without end in virtual time hear from outside") {
    in_virtual_time([] {
        pair both;
        std::thread outside([&] { send_byte(both.far.native_handle()); });
        char byte;
        CHECK(both.near.read_some({&byte, 1}) == 1);
        fiber::sleep_for(1h);
        fiber::to_thread([&] { outside.join(); });
    });
}

TEST_CASE("several runtimes at once, each with its own reactor") {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([] {
            fiber::run({.workers = 2}, [] {
                pair both;
                for (int k = 0; k < scaled(200); ++k) {
                    auto reader = fiber::spawn([&] {
                        char byte;
                        return both.near.read_some({&byte, 1});
                    });
                    fiber::yield();
                    CHECK(both.far.write_some("x") == 1);
                    CHECK(reader.get() == 1);
                }
            });
        });
    }
    for (auto& each : threads) each.join();
}

TEST_CASE("edges, limits, cancellations and closes race: each wait ends once, in one way, and nothing is left") {
    on_each_worker_count([](runtime_fixture&) {
        fiber_test::random dice(7);
        for (int i = 0; i < scaled(300); ++i) {
            pair both;
            const auto limit = std::chrono::microseconds(dice.below(60));
            std::atomic<int> ended{0};
            auto reader = fiber::spawn([&] {
                std::error_code error;
                char byte;
                const std::size_t count = both.near.read_some({&byte, 1}, error, limit);
                CHECK((count == 1) == !error);
                ++ended;
            });
            if (dice.below(2) == 0) fiber::yield();
            auto closing = fiber::spawn([&, closes = dice.below(2) == 0] {
                if (closes) both.near.close();
            });
            (void)!::send(both.far.native_handle(), "x", 1, MSG_NOSIGNAL);  // it may be closed by now
            if (dice.below(3) == 0) reader.cancel();
            reader.wait();
            closing.get();
            CHECK((ended == 1 || reader.cancelled()));
        }
    });
}
