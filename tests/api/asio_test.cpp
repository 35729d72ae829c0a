// use_fiber: what an operation returns and throws, whoever runs the io_context; cancellation, time limits, operations
// that are dropped. Built twice: with the drivers on fibers, and with a thread in their place (FIBER_ASIO_THREAD).
#include "fiber/asio.hpp"

#include <boost/asio.hpp>

#include "tests/api/fixture.hpp"

using namespace fiber::test;
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using boost::system::system_error;

namespace {

// An operation of the test's own: calls the handler at once, in a handler of the context.
template <class Signature, class... Values>
auto complete_with(asio::io_context& context, Values... values) {
    return asio::async_initiate<const fiber::use_fiber_t&, Signature>(
        [&context](auto handler, auto... what) {
            asio::post(context, [handler = std::move(handler), ... what = std::move(what)]() mutable {
                std::move(handler)(std::move(what)...);
            });
        },
        fiber::use_fiber, std::move(values)...);
}

struct move_only {
    explicit move_only(int value) : value(std::make_unique<int>(value)) {}
    std::unique_ptr<int> value;
};

struct throws_when_moved {
    throws_when_moved() = default;
    throws_when_moved(const throws_when_moved&) = default;
    throws_when_moved(throws_when_moved&& other) : moves(other.moves + 1) {
        if (moves > 2) throw std::length_error("moved too often");
    }
    int moves = 0;
};

// A context and a connected pair.
struct connection {
    connection() {
        tcp::acceptor acceptor(context, {asio::ip::make_address("127.0.0.1"), 0});
        auto accepted = fiber::spawn([&] { return acceptor.async_accept(fiber::use_fiber); });
        near.async_connect(acceptor.local_endpoint(), fiber::use_fiber);
        far = accepted.get();
        near.set_option(tcp::no_delay(true));
        far.set_option(tcp::no_delay(true));
    }

    fiber::asio_context context;
    tcp::socket near{context};
    tcp::socket far{context};
};

}  // namespace

TEST_CASE("asio: nothing, one value and several, without the error that leads them") {
    on_each_worker_count([] {
        fiber::asio_context context;
        static_assert(std::is_void_v<decltype(complete_with<void()>(context))>);
        complete_with<void()>(context);
        complete_with<void(error_code)>(context, error_code{});
        complete_with<void(std::exception_ptr)>(context, std::exception_ptr{});
        CHECK(complete_with<void(int)>(context, 7) == 7);
        CHECK(complete_with<void(error_code, int)>(context, error_code{}, 8) == 8);
        CHECK(complete_with<void(std::error_code, int)>(context, std::error_code{}, 9) == 9);
        CHECK(*complete_with<void(std::exception_ptr, move_only)>(context, std::exception_ptr{}, move_only(3)).value ==
              3);
        const auto [number, text] =
            complete_with<void(error_code, int, std::string)>(context, error_code{}, 1, std::string("one"));
        CHECK(number == 1);
        CHECK(text == "one");
        CHECK(complete_with<void(int, error_code)>(context, 2, error_code{}) == std::tuple(2, error_code{}));
    });
}

TEST_CASE("asio: errors are thrown, by their kinds") {
    on_each_worker_count([] {
        fiber::asio_context context;
        try {
            complete_with<void(error_code, int)>(context, asio::error::eof, 1);
            FAIL("an error was lost");
        } catch (const system_error& error) {
            CHECK(error.code() == asio::error::eof);
        }
        CHECK_THROWS_AS(complete_with<void(std::error_code)>(context, std::make_error_code(std::errc::broken_pipe)),
                        std::system_error);
        CHECK_THROWS_AS(
            complete_with<void(std::exception_ptr, int)>(context, std::make_exception_ptr(std::out_of_range("no")), 1),
            std::out_of_range);
        CHECK_THROWS_AS(complete_with<void(throws_when_moved)>(context, throws_when_moved()), std::length_error);
    });
}

TEST_CASE("asio: use_fiber[error] sets the error, and returns the values all the same; redirect_error, too") {
    on_each_worker_count([] {
        connection both;
        error_code error = asio::error::fault;
        CHECK(asio::async_write(both.near, asio::buffer("hello", 5), fiber::use_fiber[error]) == 5);
        CHECK_FALSE(error);
        both.near.shutdown(tcp::socket::shutdown_send);
        char bytes[10];
        CHECK(asio::async_read(both.far, asio::buffer(bytes), fiber::use_fiber[error]) == 5);
        CHECK(error == asio::error::eof);
        error = {};
        CHECK(both.near.async_write_some(asio::buffer("x", 1), asio::redirect_error(fiber::use_fiber, error)) == 0);
        CHECK(error == asio::error::broken_pipe);
        CHECK_THROWS_AS(both.near.async_write_some(asio::buffer("x", 1), fiber::use_fiber), system_error);
        error = asio::error::fault;
        asio::post(both.context, fiber::use_fiber[error]);
        CHECK_FALSE(error);
    });
}

TEST_CASE("asio: an initiation that throws, with and without having taken the handler") {
    on_each_worker_count([] {
        const auto start = [](auto initiation) {
            asio::async_initiate<const fiber::use_fiber_t&, void(int)>(std::move(initiation), fiber::use_fiber);
        };
        CHECK_THROWS_AS(start([](auto&&) { throw std::out_of_range("before"); }), std::out_of_range);
        CHECK_THROWS_AS(start([](auto handler) {
                            const auto taken = std::move(handler);
                            throw std::out_of_range("with it");
                        }),
                        std::out_of_range);
        CHECK_THROWS_AS(start([](auto) {}), system_error);
        start([](auto handler) { std::move(handler)(1); });  // on the spot
    });
}

TEST_CASE("asio: many connections at once, on plain executors and on strands") {
    on_each_worker_count([] {
        fiber::asio_context context;
        tcp::acceptor acceptor(context, {asio::ip::make_address("127.0.0.1"), 0});
        const int connections = scaled(100);
        auto server = fiber::spawn([&] {
            fiber::task_group sessions;
            for (int i = 0; i < connections; ++i) {
                sessions.spawn([socket =
                                    acceptor.async_accept(asio::make_strand(context), fiber::use_fiber)]() mutable {
                    char bytes[64];
                    error_code error;
                    while (const std::size_t n = socket.async_read_some(asio::buffer(bytes), fiber::use_fiber[error])) {
                        CHECK(asio::async_write(socket, asio::buffer(bytes, n), fiber::use_fiber) == n);
                    }
                    CHECK(error == asio::error::eof);
                });
            }
            sessions.join();
        });
        std::vector<fiber::task<void>> clients;
        for (int i = 0; i < connections; ++i) {
            clients.push_back(fiber::spawn([&, i] {
                tcp::socket socket(context);
                socket.async_connect(acceptor.local_endpoint(), fiber::use_fiber);
                for (int round = 0; round < 10; ++round) {
                    const std::string sent = std::to_string(i) + ":" + std::to_string(round);
                    asio::async_write(socket, asio::buffer(sent), fiber::use_fiber);
                    std::string received(sent.size(), ' ');
                    asio::async_read(socket, asio::buffer(received), fiber::use_fiber);
                    CHECK(received == sent);
                }
            }));
        }
        fiber::gather(clients);
        server.get();
    });
}

TEST_CASE("asio: timers, many and in their order") {
    on_each_worker_count([] {
        fiber::asio_context context;
        std::atomic<int> done{0};
        std::vector<fiber::task<void>> waiting;
        for (int i = 0; i < scaled(500); ++i) {
            waiting.push_back(fiber::spawn([&, i] {
                asio::steady_timer timer(context, std::chrono::microseconds(i * 37 % 5000));
                const auto due = timer.expiry();
                timer.async_wait(fiber::use_fiber);
                CHECK(std::chrono::steady_clock::now() >= due);
                ++done;
            }));
        }
        fiber::gather(waiting);
        CHECK(done == scaled(500));
    });
}

// --- cancellation ---

TEST_CASE("asio: on_cancel ends the operation that a cancelled fiber waits for") {
    on_each_worker_count([] {
        connection both;
        asio::steady_timer timer(both.context, 1h);
        std::atomic<int> asked{0};
        const auto ends_cancelled = [](auto wait) {
            auto waiting = fiber::spawn(wait);
            settle();
            CHECK(waiting.cancel("enough"));
            CHECK_THROWS_AS(waiting.get(), fiber::cancelled);
        };
        char byte[1];
        error_code error;
        ends_cancelled([&] { timer.async_wait(fiber::use_fiber.on_cancel(timer)); });
        ends_cancelled([&] { asio::async_read(both.near, asio::buffer(byte), fiber::use_fiber.on_cancel(both.near)); });
        ends_cancelled([&] {
            both.near.async_read_some(asio::buffer(byte), fiber::use_fiber[error].on_cancel([&] {
                ++asked;
                both.near.cancel();
            }));
        });
        CHECK(asked == 1);
        ends_cancelled([&] {
            asio::steady_timer on_strand(asio::make_strand(both.context), 1h);
            on_strand.async_wait(fiber::use_fiber.on_cancel(on_strand));
        });
        asio::async_write(both.far, asio::buffer("x", 1), fiber::use_fiber);  // the socket is as good as before
        CHECK(asio::async_read(both.near, asio::buffer(byte), fiber::use_fiber) == 1);
    });
}

TEST_CASE("asio: time limits") {
    on_each_worker_count([] {
        connection both;
        char byte[1];
        CHECK_THROWS_AS(
            fiber::with_timeout(
                1ms, [&] { both.near.async_read_some(asio::buffer(byte), fiber::use_fiber.on_cancel(both.near)); }),
            fiber::timeout_error);
        auto reading = fiber::spawn(
            [&] { return both.near.async_read_some(asio::buffer(byte), fiber::use_fiber.on_cancel(both.near)); });
        CHECK_THROWS_AS(fiber::wait_for(reading, 1ms), fiber::timeout_error);
        asio::async_write(both.far, asio::buffer("x", 1), fiber::use_fiber);
        CHECK(fiber::with_timeout(1h, [&] {
                  return both.near.async_read_some(asio::buffer(byte), fiber::use_fiber.on_cancel(both.near));
              }) == 1);
    });
}

TEST_CASE("asio: a cancellation before the operation: it does not start") {
    on_each_worker_count([] {
        fiber::asio_context context;
        std::atomic<bool> ran{false};
        auto late = fiber::spawn([&] {
            fiber::this_fiber::cancel();
            asio::async_initiate<const fiber::use_fiber_t&, void()>([&](auto) { ran = true; }, fiber::use_fiber);
        });
        CHECK_THROWS_AS(late.get(), fiber::cancelled);
        CHECK_FALSE(ran);
    });
}

#if !defined(FIBER_ASIO_HAS_CANCELLATION)
TEST_CASE("asio: without a way to end it, a cancelled fiber waits for the operation's own end") {
    on_each_worker_count([] {
        connection both;
        std::atomic<int> reached{0};
        char byte[1];
        auto reading = fiber::spawn([&] {
            CHECK(both.near.async_read_some(asio::buffer(byte), fiber::use_fiber) == 1);  // its value is not lost
            ++reached;
            fiber::sleep_for(1h);
        });
        settle();
        reading.cancel();
        settle();
        CHECK_FALSE(reading.done());
        asio::async_write(both.far, asio::buffer("x", 1), fiber::use_fiber);
        CHECK_THROWS_AS(reading.get(), fiber::cancelled);  // at the next cancellation point
        CHECK(reached == 1);
        auto failing = fiber::spawn([&] { (void)both.near.async_read_some(asio::buffer(byte), fiber::use_fiber); });
        settle();
        failing.cancel();
        settle();
        both.near.cancel();
        CHECK_THROWS_AS(failing.get(), fiber::cancelled);
    });
}
#else
TEST_CASE("asio: a cancelled fiber ends its operation through the cancellation slot") {
    on_each_worker_count([] {
        connection both;
        char byte[1];
        asio::steady_timer timer(both.context, 1h);
        CHECK_THROWS_AS(
            fiber::with_timeout(1ms, [&] { both.near.async_read_some(asio::buffer(byte), fiber::use_fiber); }),
            fiber::timeout_error);
        CHECK_THROWS_AS(
            fiber::with_timeout(1ms, [&] { asio::async_read(both.near, asio::buffer(byte), fiber::use_fiber); }),
            fiber::timeout_error);
        CHECK_THROWS_AS(fiber::with_timeout(1ms, [&] { timer.async_wait(fiber::use_fiber); }), fiber::timeout_error);
        asio::async_write(both.far, asio::buffer("x", 1), fiber::use_fiber);
        CHECK(asio::async_read(both.near, asio::buffer(byte), fiber::use_fiber) == 1);
    });
}
#endif

TEST_CASE("asio: in an uncancellable scope the operation is not disturbed") {
    on_each_worker_count([] {
        fiber::asio_context context;
        asio::steady_timer timer(context, 1h);
        std::atomic<bool> whole{false};
        auto waiting = fiber::spawn([&] {
            fiber::uncancellable([&] {
                error_code error;
                timer.async_wait(fiber::use_fiber[error].on_cancel([] { FAIL("it was disturbed"); }));
                whole = error == asio::error::operation_aborted;
            });
            fiber::sleep_for(1h);
        });
        settle();
        waiting.cancel();
        settle();
        asio::post(context, [&] { timer.cancel(); });
        CHECK_THROWS_AS(waiting.get(), fiber::cancelled);
        CHECK(whole);
    });
}

TEST_CASE("asio: a cancellation that is taken back at once disturbs nothing") {
    runtime_fixture fixture(1);
    fixture.run([] {
        fiber::asio_context context;
        asio::steady_timer timer(context, 1h);
        error_code error;
        auto waiting = fiber::spawn(
            [&] { timer.async_wait(fiber::use_fiber[error].on_cancel([] { FAIL("it was disturbed"); })); });
        settle();
        waiting.cancel();
        CHECK(waiting.uncancel() == 0);  // it has not run in between
        settle();
        CHECK_FALSE(waiting.done());
        timer.cancel();
        waiting.get();
        CHECK(error == asio::error::operation_aborted);
    });
}

TEST_CASE("asio: what on_cancel throws goes to the caller, after the operation's end") {
    on_each_worker_count([] {
        fiber::asio_context context;
        asio::steady_timer timer(context, 1h);
        std::atomic<bool> ended{false};
        auto waiting = fiber::spawn([&] {
            timer.async_wait(fiber::use_fiber.on_cancel([&] {
                timer.cancel();
                ended = true;
                throw std::out_of_range("on_cancel");
            }));
        });
        settle();
        waiting.cancel();
        CHECK_THROWS_AS(waiting.get(), std::out_of_range);
        CHECK(ended);
    });
}

TEST_CASE("asio: cancellations race with completions, and nothing is lost") {
    on_each_worker_count([] {
        connection both;
        std::atomic<int> received{0};
        constexpr int total = 200;
        std::atomic<bool> finished{false};
        auto reader = fiber::spawn([&] {
            while (received < total) {
                try {
                    fiber::with_timeout(20us, [&] {
                        char byte[1];
                        both.near.async_read_some(asio::buffer(byte), fiber::use_fiber.on_cancel(both.near));
                        ++received;
                    });
                } catch (const fiber::timeout_error&) {
                }
            }
            finished = true;
        });
        for (int i = 0; i < total; ++i) {
            asio::async_write(both.far, asio::buffer("x", 1), fiber::use_fiber);
            if (i % 3 == 0) fiber::sleep_for(20us);
        }
        reader.get();
        CHECK(received == total);
    });
}

// --- operations that are dropped ---

TEST_CASE("asio: the io_context is destroyed: whoever waits gets an error that says so") {
    on_each_worker_count([] {
        std::optional<asio::io_context> context(std::in_place);
        auto posted = fiber::spawn([&] { asio::post(*context, fiber::use_fiber); });
        std::optional<asio::steady_timer> timer(std::in_place, *context, 1h);
        auto timed = fiber::spawn([&] { timer->async_wait(fiber::use_fiber); });
        error_code unused;
        auto redirected = fiber::spawn([&] { asio::post(*context, fiber::use_fiber[unused]); });
        settle();
        asio::post(*context, [] { FAIL("nobody runs it"); });
        timer.reset();
        context.reset();
        for (auto* each : {&posted, &timed, &redirected}) {
            try {
                each->get();
                FAIL("it has not ended");
            } catch (const system_error& error) {
                CHECK(error.code() == asio::error::operation_aborted);
                CHECK(std::string(error.what()).find("io_context destroyed") != std::string::npos);
            }
        }
    });
}

// --- others run the context ---

TEST_CASE("asio: the user's own threads run the context") {
    on_each_worker_count([] {
        asio::io_context context;
        auto work = asio::make_work_guard(context);
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i) threads.emplace_back([&] { context.run(); });
        {
            std::vector<fiber::task<void>> waiting;
            for (int i = 0; i < 50; ++i) {
                waiting.push_back(fiber::spawn([&, i] {
                    for (int round = 0; round < 10; ++round) asio::post(context, fiber::use_fiber);
                    asio::steady_timer timer(context, std::chrono::microseconds(100 * i));
                    timer.async_wait(fiber::use_fiber);
                }));
            }
            fiber::gather(waiting);
            asio::steady_timer timer(asio::make_strand(context), 1h);
            CHECK_THROWS_AS(fiber::with_timeout(1ms, [&] { timer.async_wait(fiber::use_fiber.on_cancel(timer)); }),
                            fiber::timeout_error);
        }
        work.reset();
        for (auto& thread : threads) thread.join();
    });
}

TEST_CASE("asio: plain threads wait, too") {
    asio::io_context context;
    auto work = asio::make_work_guard(context);
    std::thread runs([&] { context.run(); });
    asio::post(context, fiber::use_fiber);
    asio::steady_timer timer(context, 1ms);
    timer.async_wait(fiber::use_fiber.on_cancel(timer));
    error_code error;
    tcp::socket socket(context);
    socket.async_connect({asio::ip::make_address("127.0.0.1"), 1}, fiber::use_fiber[error]);
    CHECK(error == asio::error::connection_refused);
    work.reset();
    runs.join();
}
