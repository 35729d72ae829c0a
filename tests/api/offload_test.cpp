// to_thread, run_in_executor and thread_pool: row 28 of the semantics.
#include <algorithm>
#include <future>
#include <memory>
#include <stdexcept>

#include "fiber/detail/runtime_state.hpp"
#include "scheduler/core/cpu_count.hpp"
#include "tests/api/captured_stderr.hpp"
#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

// A call that holds its thread until it is let go. For any number of threads.
class blocker {
 public:
    ~blocker() { release(); }
    void operator()() {
        ++running_;
        if (running_ > most_) most_ = running_.load();
        CHECK(spin_until([&] {
            std::this_thread::sleep_for(50us);
            return released_.load();
        }));
        --running_;
        ++finished_;
    }
    void release() { released_ = true; }
    int running() const { return running_; }
    int most() const { return most_; }
    int finished() const { return finished_; }

 private:
    std::atomic<bool> released_{false};
    std::atomic<int> running_{0};
    std::atomic<int> most_{0};
    std::atomic<int> finished_{0};
};

}  // namespace

TEST_CASE("row 28: the default pool is made lazily") {
    on_each_worker_count([](runtime_fixture& fixture) {
        const auto before = running_threads();
        CHECK(fixture.runtime().statistics().offload_threads == 0);
        CHECK(fiber::to_thread([] { return 1; }) == 1);
        CHECK(fixture.runtime().statistics().offload_threads == 1);
        CHECK(threads_since(before) == 1);
    });
}

TEST_CASE("row 28: to_thread runs elsewhere and parks only its caller") {
    runtime_fixture fixture(1);
    fixture.run([] {
        blocker block;
        std::thread::id offloaded;
        auto caller = fiber::spawn([&] {
            fiber::to_thread([&] {
                offloaded = std::this_thread::get_id();
                block();
            });
        });
        CHECK(yield_until([&] { return block.running() == 1; }));  // the only worker is free meanwhile
        CHECK_FALSE(caller.done());
        block.release();
        caller.get();
        CHECK(offloaded != std::this_thread::get_id());
    });
}

TEST_CASE("row 28: values, arguments and exceptions cross") {
    on_each_worker_count([] {
        CHECK(fiber::to_thread([](int a, const std::string& b) { return b + std::to_string(a); }, 1, "x") == "x1");
        auto owned = fiber::to_thread([](std::unique_ptr<int> p) { return p; }, std::make_unique<int>(2));
        CHECK(*owned == 2);
        static_assert(std::is_void_v<decltype(fiber::to_thread([] {}))>);
        fiber::to_thread([] {});
        CHECK_THROWS_WITH_AS(fiber::to_thread([] { throw std::runtime_error("over there"); }), "over there",
                             std::runtime_error);
        auto future = fiber::run_in_executor([](tracked t) { return t.value(); }, tracked(3));
        CHECK(future.get() == 3);
        auto failing = fiber::run_in_executor([]() -> int { throw std::out_of_range("there"); });
        CHECK_THROWS_AS(failing.get(), std::out_of_range);
    });
}

// The story: the pool's thread told the end of the call while it still handled the exception. Whoever had waited was
// done with it, and it was destroyed later, by that thread, when what it pointed to might have gone.
TEST_CASE("row 28: an exception that crossed is destroyed by who waited for it") {
    on_each_worker_count([] {
        std::atomic<bool> may_throw{false};
        std::atomic<long> left{-1};
        auto future = fiber::run_in_executor([&] {
            CHECK(spin_until([&] { return may_throw.load(); }));
            throw tracked(1);
        });
        future.on_done([&] {  // on the pool's thread, as early as anybody can know of the end
            CHECK_THROWS_AS(future.get(), tracked);
            future = {};
            left = tracked::live();
        });
        may_throw = true;
        CHECK(yield_until([&] { return left >= 0; }));
        CHECK(left == 0);
    });
}

TEST_CASE("row 28: the default pool has min(32, cores + 4) threads at most") {
    runtime_fixture fixture(1);
    fixture.run([&] {
        const int limit = static_cast<int>(std::min(32u, fiber::engine::available_cpus() + 4));
        blocker block;
        std::vector<fiber::future<void>> calls;
        for (int i = 0; i < limit + 10; ++i) calls.push_back(fiber::run_in_executor([&] { block(); }));
        REQUIRE(yield_until([&] { return block.running() == limit; }));
        CHECK(fixture.runtime().statistics().offload_threads == static_cast<std::size_t>(limit));
        block.release();
        for (auto& call : calls) call.get();
        CHECK(block.most() == limit);
        CHECK(block.finished() == limit + 10);
    });
}

TEST_CASE("row 28: offload_threads limits the pool") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(fiber::runtime_options{.workers = workers, .offload_threads = 2});
        fixture.run([&] {
            blocker block;
            std::vector<fiber::future<void>> calls;
            for (int i = 0; i < 8; ++i) calls.push_back(fiber::run_in_executor([&] { block(); }));
            REQUIRE(yield_until([&] { return block.running() == 2; }));
            block.release();
            fiber::gather(std::move(calls));
            CHECK(block.most() <= 2);
        });
    });
}

TEST_CASE("row 28: a queued call can be cancelled, and is destroyed unrun") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(fiber::runtime_options{.workers = workers, .offload_threads = 1});
        fixture.run([&] {
            blocker block;
            std::atomic<bool> ran{false};
            auto running = fiber::run_in_executor([&] { block(); });
            REQUIRE(yield_until([&] { return block.running() == 1; }));
            auto queued = fiber::run_in_executor([&, held = tracked(1)] { ran = true; });
            CHECK(queued.cancel());
            CHECK_THROWS_AS(queued.get(), fiber::cancelled);
            block.release();
            running.get();
            fiber::to_thread([] {});
            CHECK_FALSE(ran);
        });
    });
}

TEST_CASE("row 28: a running call runs on while only its future is cancelled") {
    on_each_worker_count([] {
        blocker block;
        auto future = fiber::run_in_executor([&, held = tracked(1)] { block(); });
        REQUIRE(yield_until([&] { return block.running() == 1; }));
        CHECK(future.cancel());
        CHECK_THROWS_AS(future.get(), fiber::cancelled);
        CHECK(block.running() == 1);
        block.release();
        CHECK(yield_until([&] { return block.finished() == 1; }));
    });
}

TEST_CASE("row 28: a cancelled to_thread gives up waiting; the call runs on and keeps what it holds") {
    on_each_worker_count([] {
        const long before = tracked::live();
        const auto block = std::make_shared<blocker>();
        std::atomic<bool> intact{false};
        auto caller = fiber::spawn([&, block] {
            fiber::to_thread(
                [&intact, block](tracked argument) {
                    (*block)();
                    intact = argument.value() == 8;
                },
                tracked(8));
        });
        REQUIRE(yield_until([&] { return block->running() == 1; }));
        CHECK(caller.cancel());
        CHECK_THROWS_AS(caller.get(), fiber::cancelled);
        CHECK(block->running() == 1);
        CHECK(tracked::live() > before);
        block->release();
        CHECK(yield_until([&] { return tracked::live() == before; }));
        CHECK(intact);
    });
}

TEST_CASE("row 28: run waits for the pool at the end") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::atomic<int> finished{0};
        const auto run_is_ending = [&] {
            try {
                fixture.runtime().post([] {});
                return false;
            } catch (const fiber::runtime_stopped&) {
                return true;
            }
        };
        std::atomic<bool> started{false};
        fixture.run([&] {
            [[maybe_unused]] auto dropped = fiber::run_in_executor([&] {
                started = true;
                CHECK(spin_until(run_is_ending));
                ++finished;
            });
            REQUIRE(yield_until([&] { return started.load(); }));
        });
        CHECK(finished == 1);
    });
}

TEST_CASE("row 28: a pool of one's own, with its own threads, from fibers and from threads") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        fiber::thread_pool pool(2);
        fixture.run([&] {
            std::vector<fiber::future<int>> results;
            for (int i = 0; i < 20; ++i)
                results.push_back(fiber::run_in_executor(
                    pool, [](int n) { return n * n; }, i));
            CHECK(fiber::gather(std::move(results)).back() == 361);
            CHECK(fixture.runtime().statistics().offload_threads == 0);
        });
        auto from_thread = fiber::run_in_executor(pool, [] { return std::string("outside"); });
        CHECK(from_thread.get() == "outside");
        auto failing = fiber::run_in_executor(pool, [] { throw std::runtime_error("outside"); });
        CHECK_THROWS_AS(failing.get(), std::runtime_error);
        pool.shutdown();
    });
}

TEST_CASE("row 28: submitting after shutdown is an error; what was queued before is done") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        fixture.run([&] {
            fiber::thread_pool pool(1);
            std::atomic<int> done{0};
            std::vector<fiber::future<void>> calls;
            for (int i = 0; i < 10; ++i) calls.push_back(fiber::run_in_executor(pool, [&] { ++done; }));
            pool.shutdown();
            CHECK(done == 10);
            CHECK_THROWS_AS((void)fiber::run_in_executor(pool, [held = tracked(1)] {}), std::runtime_error);
            pool.shutdown();  // again does nothing
            for (auto& call : calls) call.get();
        });
    });
}

TEST_CASE("row 28: the destructor of a pool waits for running calls and cancels those that wait") {
    const resource_guard guard;
    std::atomic<int> running{0};
    std::atomic<int> done{0};
    std::atomic<bool> submitted{false};  // from then on the vector stays as it is
    std::vector<fiber::future<void>> calls(20);
    {
        fiber::thread_pool pool(3);
        for (auto& call : calls) {
            call = fiber::run_in_executor(pool, [&, held = tracked(1)] {
                ++running;
                CHECK(spin_until([&] { return running == 3 && submitted && calls.back().cancelled(); }));
                ++done;
            });
        }
        submitted = true;
        CHECK(spin_until([&] { return running == 3; }));
    }
    for (const auto& call : calls) CHECK(call.done());
    CHECK(done == 3);
    CHECK(std::count_if(calls.begin(), calls.end(), [](const auto& call) { return call.cancelled(); }) == 17);
}

namespace {
// Makes the end of run less patient.
class short_grace {
 public:
    explicit short_grace(std::chrono::nanoseconds length)
        : before_(fiber::detail::offload_grace.exchange(length.count())) {}
    short_grace(const short_grace&) = delete;
    short_grace& operator=(const short_grace&) = delete;
    ~short_grace() { fiber::detail::offload_grace = before_; }

 private:
    fiber::engine::nanos before_;
};
}  // namespace

TEST_CASE("row 28: the end of run waits for a call that blocks, but not for ever: then it says what it leaves behind") {
    CHECK(fiber::detail::offload_grace == std::chrono::nanoseconds(30s).count());
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        const short_grace impatient(20ms);
        struct shared {
            std::promise<void> may_return;
            std::atomic<bool> begun{false};
            std::atomic<bool> returned{false};
        };
        const auto state = std::make_shared<shared>();
        captured_stderr written;
        const int value = fiber::run({.workers = workers}, [&] {
            (void)fiber::run_in_executor([state] {
                state->begun = true;
                state->may_return.get_future().wait();
                state->returned = true;
            });
            CHECK(yield_until([&] { return state->begun.load(); }));
            return 5;
        });
        const std::string text = written.text();
        CHECK(value == 5);
        CHECK_FALSE(state->returned);
        CHECK(text == "fiber: blocking calls still ran 0.02 s after run() ended; they go on alone on 1 threads\n");
        state->may_return.set_value();
        CHECK(spin_until([&] { return state->returned.load(); }));
    });
}

TEST_CASE("many offloaded calls at once") {
    on_each_worker_count([] {
        std::vector<fiber::task<int>> tasks;
        const int count = scaled(500);
        for (int i = 0; i < count; ++i)
            tasks.push_back(fiber::spawn([i] { return fiber::to_thread([i] { return i; }); }));
        const auto results = fiber::gather(tasks);
        for (int i = 0; i < count; ++i) CHECK(results[static_cast<std::size_t>(i)] == i);
    });
}
