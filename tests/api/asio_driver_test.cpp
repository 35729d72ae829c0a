// asio_driver and asio_context: who runs handlers, what they may do, how driving ends. Built twice, as asio_test.cpp.
// clang-format off
#include "fiber/asio.hpp"
#include <boost/asio.hpp>  // behind <utility>, which Boost 1.74's headers use without including it
// clang-format on

#include "tests/api/fault_injection.hpp"
#include "tests/api/fixture.hpp"

using namespace fiber::test;
namespace asio = boost::asio;
using boost::system::error_code;

TEST_CASE("asio_driver: posts from fibers, handlers and other threads wake it") {
    on_each_worker_count([] {
        fiber::asio_context context;
        std::atomic<int> ran{0};
        for (int round = 0; round < 20; ++round) {
            settle();  // it waits
            std::thread outside([&] { asio::post(context, [&] { asio::post(context, [&] { ++ran; }); }); });
            CHECK(yield_until([&] { return ran == 2 * round + 1; }));
            outside.join();
            settle();
            asio::defer(context, [&] { ++ran; });
            CHECK(yield_until([&] { return ran == 2 * round + 2; }));
        }
        std::vector<std::thread> many;
        for (int i = 0; i < 4; ++i) {
            many.emplace_back([&] {
                for (int post = 0; post < scaled(2000); ++post) asio::post(context, [&] { ++ran; });
            });
        }
        CHECK(yield_until([&] { return ran == 40 + 4 * scaled(2000); }));
        for (auto& thread : many) thread.join();
    });
}

TEST_CASE("asio_driver: a timer that is cancelled or moved forward from outside is noticed") {
    on_each_worker_count([] {
        fiber::asio_context context;
        asio::steady_timer timer(context, 1h);
        // Begun by the one who starts the thread: a timer of Asio's is one thread's at a time.
        std::atomic<bool> aborted{false};
        timer.async_wait([&](error_code error) { aborted = error == asio::error::operation_aborted; });
        settle();
        std::thread([&] { timer.cancel(); }).join();
        CHECK(yield_until([&] { return aborted.load(); }));
        asio::steady_timer later(context, 1h);
        std::atomic<int> fired{0};
        later.async_wait([&](error_code) { ++fired; });
        settle();
        std::thread([&] {
            later.expires_after(1ms);
            later.async_wait([&](error_code) { ++fired; });
        }).join();
        CHECK(yield_until([&] { return fired == 2; }));
    });
}

TEST_CASE("asio_driver: hundreds of descriptors become readable that nobody reads: nothing is stuck behind them") {
    on_each_worker_count([] {
        fiber::asio_context context;
        using socket = asio::local::stream_protocol::socket;
        std::vector<socket> near, far;
        for (int i = 0; i < 300; ++i) {
            near.emplace_back(context);
            far.emplace_back(context);
            asio::local::connect_pair(near.back(), far.back());
        }
        char bytes[2];
        auto last = fiber::spawn([&] { asio::async_read(near.back(), asio::buffer(bytes, 1), fiber::use_fiber); });
        settle();
        for (auto& each : far) (void)each.write_some(asio::buffer("x", 1));
        last.get();
    });
}

// The story: the driver ran handlers until there were none. One that posted itself again and again held the worker: no
// other fiber ran, no timer expired.
TEST_CASE("asio_driver: a handler that posts itself without end leaves the worker to the fibers") {
    on_each_worker_count([] {
        fiber::asio_context context;
        const auto limit = std::chrono::steady_clock::now() + patience;
        std::atomic<bool> enough{false};
        std::atomic<bool> gave_up{false};
        std::function<void()> again = [&] {
            gave_up = std::chrono::steady_clock::now() > limit;
            if (!enough && !gave_up) asio::post(context, again);
        };
        asio::post(context, again);
        for (int turn = 0; turn < 10; ++turn) fiber::yield();
        fiber::sleep_for(1ms);
        enough = true;
        asio::post(context, fiber::use_fiber);  // the last one has run
        CHECK_FALSE(gave_up);
    });
}

TEST_CASE("asio_driver: a handler that throws is reported, and the others run on") {
    on_each_worker_count([] {
        std::atomic<int> reported{0};
        const auto before =
            fiber::set_unretrieved_exception_handler([&](const fiber::unretrieved_exception&) { ++reported; });
        fiber::asio_context context;
        std::atomic<int> ran{0};
        for (int i = 0; i < 3; ++i) {
            asio::post(context, [&] {
                ++ran;
                throw std::runtime_error("a handler fails");
            });
        }
        asio::post(context, fiber::use_fiber);
        CHECK(ran == 3);
        CHECK(yield_until([&] { return reported == 3; }));
        fiber::set_unretrieved_exception_handler(before);
    });
}

TEST_CASE("asio_driver: handlers may spawn; use_fiber in a handler is an error that says what to do") {
    on_each_worker_count([] {
        fiber::asio_context context;
        fiber::promise<void> refused, spawned;
        asio::post(context, [&] {
            CHECK_FALSE(fiber::this_fiber::on_fiber());
            try {
                asio::post(context, fiber::use_fiber);
            } catch (const fiber::usage_error& error) {
                CHECK(std::string(error.what()).find("spawn a fiber") != std::string::npos);
                refused.set_value();
            }
#if !defined(FIBER_ASIO_THREAD)  // there handlers run on a thread of the offload pool
            fiber::spawn([&] {
                asio::post(context, fiber::use_fiber);
                spawned.set_value();
            }).detach();
#endif
        });
        refused.get_future().get();
#if !defined(FIBER_ASIO_THREAD)
        spawned.get_future().get();
#endif
    });
}

TEST_CASE("asio_driver: an io_context of the user's own, several contexts, one after the other and at once") {
    on_each_worker_count([] {
        asio::io_context first, second;
        for (int round = 0; round < 3; ++round) {
            const fiber::asio_driver one(first), two(second, 128 * 1024);
            asio::steady_timer timer(first, 1ms);
            auto waiting = fiber::spawn([&] { timer.async_wait(fiber::use_fiber); });
            asio::post(second, fiber::use_fiber);
            waiting.get();
        }
        std::atomic<bool> ran{false};
        asio::post(first, [&] { ran = true; });
        settle();
        CHECK_FALSE(ran);  // nobody drives it
        const fiber::asio_driver again(first);
        CHECK(yield_until([&] { return ran.load(); }));
    });
}

TEST_CASE("asio_driver: two runtimes, fibers of one wait for a context that the other drives") {
    fiber::runtime other({.workers = 2});
    fiber::promise<asio::io_context*> made;
    fiber::promise<void> enough;
    auto driven = made.get_future();
    auto stop = enough.get_future();
    std::thread drives([&] {
        other.run([&] {
            fiber::asio_context context;
            made.set_value(&context);
            stop.get();
        });
    });
    fiber::run({.workers = 2}, [&] {
        asio::io_context& context = *driven.get();
        const fiber::asio_context own;
        std::vector<fiber::task<void>> waiting;
        for (int i = 0; i < 20; ++i) {
            waiting.push_back(fiber::spawn([&] {
                asio::steady_timer timer(context, 1ms);
                timer.async_wait(fiber::use_fiber);
                asio::post(context, fiber::use_fiber);
            }));
        }
        fiber::gather(waiting);
        asio::steady_timer timer(context, 1h);
        CHECK_THROWS_AS(fiber::with_timeout(1ms, [&] { timer.async_wait(fiber::use_fiber.on_cancel(timer)); }),
                        fiber::timeout_error);
    });
    enough.set_value();
    drives.join();
}

TEST_CASE("asio_driver: stop() ends the driving, as it ends run()") {
    on_each_worker_count([] {
        asio::io_context context;
        for (int round = 0; round < scaled(200); ++round) {  // it comes when the driver waits, and when it is about to
            const fiber::asio_driver driver(context);
            asio::post(context, fiber::use_fiber);
            context.stop();
            CHECK(yield_until([] { return fiber::all_tasks().size() == 1; }));
        }
        const fiber::asio_driver driver(context);
        asio::post(context, fiber::use_fiber);
    });
}

TEST_CASE("asio_driver: what waits for the context when the runtime stops is driven to its end") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::atomic<int> ended{0};
        fixture.run([&] {
            for (int i = 0; i < 3; ++i) {
                fiber::spawn([&] {
                    fiber::asio_context context;
                    asio::steady_timer timer(context, 1h);
                    auto child = fiber::spawn([&] { timer.async_wait(fiber::use_fiber.on_cancel(timer)); });
                    try {
                        child.get();
                    } catch (const fiber::cancelled&) {
                        fiber::uncancellable([&] {
                            timer.expires_after(1ms);
                            timer.async_wait(fiber::use_fiber);
                        });
                        ++ended;
                        throw;
                    }
                }).detach();
            }
            settle();
        });
        CHECK(ended == 3);
    });
}

TEST_CASE("asio_driver: one that outlives run() ends with it") {
    for_each_worker_count([](unsigned workers) {
        std::optional<fiber::asio_context> first, second;
        runtime_fixture fixture(workers);
        fixture.run([&] {
            first.emplace();
            second.emplace();
            asio::post(*first, fiber::use_fiber);
            settle();
        });
        second.reset();
        first.reset();
    });
}

TEST_CASE("asio_driver: outside a runtime it is an error") {
    asio::io_context context;
    CHECK_THROWS_AS(fiber::asio_driver{context}, fiber::usage_error);
    runtime_fixture fixture(1);
    fixture.run([&] { CHECK_THROWS_AS((fiber::asio_driver{context, 1}), fiber::invalid_option); });
}

TEST_CASE("asio: operations that wait ask for no memory") {
    if (!can_fail(resource::memory)) return;
    runtime_fixture fixture(1);
    fixture.run([] {
        using socket = asio::basic_stream_socket<asio::local::stream_protocol, asio::io_context::executor_type>;
        fiber::asio_context context;
        socket near(context), far(context);
        asio::local::connect_pair(near, far);
        char there[1], back[1];
        const auto round = [&] {
            auto answer = fiber::spawn([&] {
                asio::async_read(far, asio::buffer(there), fiber::use_fiber);
                asio::async_write(far, asio::buffer(there), fiber::use_fiber);
            });
            asio::async_write(near, asio::buffer("x", 1), fiber::use_fiber);
            asio::async_read(near, asio::buffer(back), fiber::use_fiber.on_cancel(near));
            answer.get();
        };
        round();
        const injected_failure failure(resource::memory, 0, failure_span::all_from_there);
        for (int i = 0; i < 10; ++i) round();
        CHECK_FALSE(failure.happened());
    });
}
