// What callers get wrong: each mistake is a typed exception at the call that makes it, and leaves nothing behind.
#include <functional>
#include <future>
#include <limits>
#include <stdexcept>
#include <sys/resource.h>
#include <system_error>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

static_assert(std::is_base_of_v<std::invalid_argument, fiber::invalid_option>);
static_assert(std::is_base_of_v<std::logic_error, fiber::usage_error>);
static_assert(std::is_base_of_v<std::runtime_error, fiber::runtime_stopped>);
static_assert(std::is_base_of_v<std::runtime_error, fiber::timeout_error>);

namespace {

void expect_refused(const fiber::runtime_options& options) {
    const resource_guard guard;
    CHECK_THROWS_AS(fiber::run(options, [] { FAIL("ran with bad options"); }), fiber::invalid_option);
    CHECK_THROWS_AS(fiber::runtime{options}, fiber::invalid_option);
}

// A callable that can be made to throw when it is copied or moved.
class fragile {
 public:
    explicit fragile(int copies_left) : copies_left_(copies_left) {}
    fragile(const fragile& other) : content_(other.content_), copies_left_(other.copies_left_) { count_down(); }
    fragile(fragile&& other) : content_(other.content_), copies_left_(other.copies_left_) { count_down(); }
    int operator()() const { return content_.value(); }

 private:
    void count_down() {
        if (copies_left_-- <= 0) throw std::runtime_error("copy failed");
    }
    tracked content_{5};
    int copies_left_;
};

}  // namespace

TEST_CASE("absurd numbers of workers are refused, zero means the default") {
    expect_refused({.workers = 100'000});
    expect_refused({.workers = std::numeric_limits<unsigned>::max()});
    expect_refused({.workers = static_cast<unsigned>(-1)});
    const resource_guard guard;
    CHECK(fiber::run({.workers = 0}, [] { return 1; }) == 1);
}

TEST_CASE("stack sizes that are too small, too large or no multiple of a page are refused") {
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{4096}, std::size_t{8192}, std::size_t{16 * 1024 - 1}, std::size_t{16 * 1024 + 1},
          std::size_t{256 * 1024 + 8}, std::size_t{1} << 60, std::numeric_limits<std::size_t>::max(),
          std::numeric_limits<std::size_t>::max() & ~std::size_t{4095}}) {
        expect_refused({.workers = 1, .stack_size = size});
        const resource_guard guard;
        fiber::run({.workers = 1}, [&] {
            const auto spawn = [&] { (void)fiber::spawn({.stack_size = size}, [held = tracked(1)] {}); };
            CHECK_THROWS_AS(spawn(), fiber::invalid_option);
            CHECK(tracked::live() == 0);
            CHECK(fiber::spawn([] { return 1; }).get() == 1);
        });
    }
    const resource_guard guard;
    CHECK(fiber::run({.workers = 1, .stack_size = 16 * 1024}, [] { return fiber::spawn([] { return 2; }).get(); }) ==
          2);
}

TEST_CASE("absurd numbers of offload threads are refused") {
    expect_refused({.workers = 1, .offload_threads = std::numeric_limits<unsigned>::max()});
    expect_refused({.workers = 1, .offload_threads = 1'000'000});
    CHECK_THROWS_AS(fiber::thread_pool pool(std::numeric_limits<unsigned>::max()), fiber::invalid_option);
}

TEST_CASE("run on a fiber is a usage_error, and the outer run goes on") {
    in_virtual_time([](runtime_fixture& fixture) {
        CHECK_THROWS_AS(fiber::run([] {}), fiber::usage_error);
        CHECK_THROWS_AS(fiber::run({.workers = 2}, [] {}), fiber::usage_error);
        CHECK_THROWS_AS(fixture.runtime().run([] {}), fiber::usage_error);
        auto child = fiber::spawn([held = tracked(1)] { fiber::run([] {}); });
        CHECK_THROWS_AS(child.get(), fiber::usage_error);
        fiber::sleep_for(1ms);
    });
}

TEST_CASE("running one runtime from two threads at once is a usage_error") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        fixture.run(
            [&] { std::thread([&] { CHECK_THROWS_AS(fixture.runtime().run([] {}), fiber::usage_error); }).join(); });
    });
}

TEST_CASE("spawn and post on a runtime that has stopped throw, and destroy what they were given") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        fixture.run([] {});
        CHECK_THROWS_AS((void)fixture.runtime().spawn([held = tracked(1)] {}), fiber::runtime_stopped);
        CHECK_THROWS_AS(fixture.runtime().post([held = tracked(1)] {}), fiber::runtime_stopped);
        CHECK(tracked::live() == 0);
    });
}

TEST_CASE("spawn and post that race with the end are either run, cancelled or refused, never lost") {
    for_each_worker_count([](unsigned workers) {
        for (int round = 0; round < scaled(20); ++round) {
            const resource_guard guard;
            fiber::runtime rt({.workers = workers});
            std::atomic<bool> refused{false};
            std::thread outside([&] {
                while (!refused) {
                    try {
                        auto task = rt.spawn([held = tracked(1)] { return 1; });
                        rt.post([held = tracked(2)] {});
                        task.wait();
                        CHECK((task.cancelled() || task.get() == 1));
                    } catch (const fiber::runtime_stopped&) {
                        refused = true;
                    }
                }
            });
            rt.run([] { fiber::sleep_for(200us); });
            outside.join();
        }
    });
}

TEST_CASE("verbs that need a runtime throw usage_error outside of one") {
    const resource_guard guard;
    CHECK_THROWS_AS((void)fiber::spawn([held = tracked(1)] {}), fiber::usage_error);
    CHECK_THROWS_AS((void)fiber::spawn({.name = "a"}, [held = tracked(1)] {}), fiber::usage_error);
    CHECK(tracked::live() == 0);
    std::thread([] { CHECK_THROWS_AS((void)fiber::spawn([] {}), fiber::usage_error); }).join();
    fiber::run({.workers = 1},
               [] { std::thread([] { CHECK_THROWS_AS((void)fiber::spawn([] {}), fiber::usage_error); }).join(); });
}

TEST_CASE("get and wait on a moved-from task throw no_state") {
    on_each_worker_count([] {
        auto source = fiber::spawn([] { return 1; });
        auto target = std::move(source);
        const auto code_of = [](auto action) {
            try {
                action();
            } catch (const std::future_error& error) {
                return error.code();
            }
            return std::error_code();
        };
        CHECK(code_of([&] { source.get(); }) == std::future_errc::no_state);
        CHECK(code_of([&] { source.wait(); }) == std::future_errc::no_state);
        CHECK(code_of([&] { (void)source.wait_for(1ms); }) == std::future_errc::no_state);
        CHECK(target.get() == 1);
    });
}

TEST_CASE("a task that joins itself is told so instead of waiting for ever") {
    on_each_worker_count([] {
        gate ready;
        std::optional<fiber::task<void>> self;
        self.emplace(fiber::spawn([&] {
            ready.wait();
            CHECK_THROWS_AS(self->get(), std::exception);
            CHECK_THROWS_AS(fiber::gather(*self, [] {}), fiber::usage_error);
        }));
        ready.open();
        self->wait();
    });
}

// The parent's get() calls a child that nobody has started. Such a child that joined itself used to be called again,
// inside itself, without end.
TEST_CASE("a task that joins itself while its parent waits in get() is called once, and told so") {
    on_each_worker_count([] {
        gate ready;
        std::atomic<int> calls = 0;
        std::optional<fiber::task<void>> self;
        self.emplace(fiber::spawn([&] {
            ready.wait();
            if (++calls > 1) return;
            CHECK_THROWS_AS(self->get(), fiber::usage_error);
            CHECK_THROWS_AS(self->wait(), fiber::usage_error);
        }));
        ready.open();
        self->get();
        CHECK(calls == 1);
    });
}

TEST_CASE("a callable or argument that throws when copied makes spawn throw, and leaves nothing") {
    on_each_worker_count([] {
        for (int copies = 0; copies < 6; ++copies) {
            const fragile callable(copies);
            try {
                CHECK(fiber::spawn(callable).get() == 5);
            } catch (const std::runtime_error& error) {
                CHECK(std::string(error.what()) == "copy failed");
            }
            try {
                auto task = fiber::spawn([](const fragile& f) { return f(); }, callable);
                CHECK(task.get() == 5);
            } catch (const std::runtime_error& error) {
                CHECK(std::string(error.what()) == "copy failed");
            }
        }
        const fragile breaks(0);
        CHECK_THROWS_AS((void)fiber::spawn(breaks), std::runtime_error);
        CHECK_THROWS_AS((void)fiber::to_thread(breaks), std::runtime_error);
        CHECK_THROWS_AS((void)fiber::run_in_executor(breaks), std::runtime_error);
        CHECK_THROWS_AS((void)fiber::gather(breaks, [] { return 1; }), std::runtime_error);
        CHECK(fiber::all_tasks().size() == 1);
        CHECK(tracked::live() == 1);  // in breaks
    });
}

TEST_CASE("a result that throws when it is moved becomes the task's exception") {
    on_each_worker_count([] {
        for (int moves = 0; moves < 4; ++moves) {
            try {
                auto task = fiber::spawn([moves] { return fragile(moves); });
                CHECK(task.get()() == 5);
            } catch (const std::runtime_error& error) {
                CHECK(std::string(error.what()) == "copy failed");
            }
        }
        CHECK(tracked::live() == 0);
    });
}

TEST_CASE("a callable that throws when copied makes run throw, and leaves nothing") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        const fragile breaks(0);
        try {
            CHECK(fiber::run({.workers = workers}, breaks) == 5);  // run need not copy
        } catch (const std::runtime_error& error) {
            CHECK(std::string(error.what()) == "copy failed");
        }
        CHECK(fiber::run({.workers = workers}, [] { return 1; }) == 1);
    });
}

TEST_CASE("an empty std::function is the task's exception") {
    on_each_worker_count([] {
        auto task = fiber::spawn(std::function<int()>());
        CHECK_THROWS_AS(task.get(), std::bad_function_call);
    });
}

TEST_CASE("a null exception_ptr given to a promise is refused") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        CHECK_THROWS_AS(promise.set_exception(std::exception_ptr()), std::logic_error);
        promise.set_value(1);
        CHECK(future.get() == 1);
    });
}

TEST_CASE("negative timeouts have expired, NaN is refused, on every timed wait") {
    on_each_worker_count([] {
        const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
        fiber::promise<int> promise;
        auto future = promise.get_future();
        auto task = fiber::spawn([] { fiber::sleep_for(1h); });
        CHECK_FALSE(future.wait_for(-1h));
        CHECK_FALSE(future.wait_for(std::chrono::nanoseconds::min()));
        CHECK_FALSE(task.wait_for(std::chrono::hours::min()));
        CHECK_FALSE(task.wait_until(std::chrono::steady_clock::time_point::min()));
        CHECK_THROWS_AS((void)future.wait_for(nan), std::invalid_argument);
        CHECK_THROWS_AS((void)task.wait_for(nan), std::invalid_argument);
        CHECK_THROWS_AS(fiber::sleep_for(nan), std::invalid_argument);
        fiber::timed_mutex free;
        CHECK_THROWS_AS((void)free.try_lock_for(nan), std::invalid_argument);  // also where there is nothing to wait for
        CHECK(free.try_lock_for(-1h));
        free.unlock();
    });
}

// wait() gives pointers, and takes them again: a null one among them was followed.
TEST_CASE("a nullptr in a range of pointers is refused by all that take such a range") {
    on_each_worker_count([] {
        auto task = fiber::spawn(park_until_cancelled);
        const std::vector<fiber::task<void>*> handles{&task, nullptr};
        CHECK_THROWS_AS((void)fiber::wait(handles), fiber::invalid_option);
        CHECK_THROWS_AS((void)fiber::wait(handles, fiber::first_completed, 1ms), fiber::invalid_option);
        CHECK_THROWS_AS((void)fiber::as_completed(handles), fiber::invalid_option);
        CHECK_THROWS_AS(fiber::gather(handles), fiber::invalid_option);
        CHECK_THROWS_AS((void)fiber::gather(fiber::return_exceptions, handles), fiber::invalid_option);
        CHECK(task.cancelling() == 0);
    });
}

TEST_CASE("without a free descriptor a runtime works or fails with a system_error, and works again later") {
    if (sanitized) return;  // UBSan itself needs descriptors, to find out whether memory is readable
    const resource_guard guard;
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    const rlimit none{0, before.rlim_max};
    bool worked = false;
    bool failed = false;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    try {
        fiber::run({.workers = 2}, [] {
            fiber::sleep_for(1ms);
            fiber::spawn([] { fiber::yield(); }).get();
            CHECK(fiber::to_thread([] { return 1; }) == 1);
        });
        worked = true;
    } catch (const std::system_error&) {
        failed = true;
    }
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(worked != failed);
    CHECK(fiber::run({.workers = 2}, [] { return 3; }) == 3);
}
