// The public names in the shapes that programs are written against: options as aggregates, results that unpack, loops.
// What they do is tested elsewhere; here it is that these lines compile, and mean what they say.
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <stdexcept>

#include "fiber/fiber.hpp"
#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

// Here as in the programs: what is not qualified is found.
using fiber::event;
using fiber::run;
using fiber::spawn;
using fiber::task;

static_assert(std::is_aggregate_v<fiber::runtime_options>);
static_assert(std::is_aggregate_v<fiber::spawn_options>);
static_assert(!std::is_base_of_v<std::exception, fiber::cancelled>);
static_assert(std::is_base_of_v<std::exception, fiber::timeout_error>);
static_assert(std::is_base_of_v<std::exception, fiber::exception_group>);
static_assert(!std::is_copy_constructible_v<task<int>>);
static_assert(std::is_copy_constructible_v<fiber::shared_future<int>>);

TEST_CASE("shapes: run and runtime with options, spawn with options") {
    CHECK(run({.workers = 4}, [] { return 1; }) == 1);
    fiber::runtime rt({.workers = 4, .stack_size = 256 * 1024, .offload_threads = 6, .name = "io"});
    auto outside = rt.spawn([](int a) { return a; }, 2);
    rt.post([] {});
    CHECK(rt.run([&] { return outside.get(); }) == 2);
    on_each_worker_count([] {
        task<int> t = spawn(
            {.name = "a", .stack_size = 64 * 1024}, [](int a, int b) { return a + b; }, 1, 2);
        CHECK(t.name() == "a");
        CHECK(t.get() == 3);
        bool found = false;
        auto named = spawn({.name = "listed"}, park_until_cancelled);
        settle();
        auto ts = fiber::all_tasks();
        for (const auto& [id, name, state, file, line] : ts) {
            found |= name == "listed" && id != 0 && state == fiber::task_state::parked && file != nullptr && line > 0;
            CHECK(std::string(fiber::to_string(state)) != "");
        }
        CHECK(found);
    });
}

TEST_CASE("shapes: task, cancel with and without a message, cancelled") {
    on_each_worker_count([] {
        task<void> t = spawn(park_until_cancelled);
        settle();
        bool ok = t.cancel("why");
        CHECK(ok);
        try {
            t.get();
        } catch (const fiber::cancelled& c) {
            CHECK(c.message() == "why");
        }
        CHECK(t.done());
        CHECK(t.cancelled());
        CHECK(t.cancelling() == 1);
        CHECK_FALSE(t.cancel());
        task<int> own = spawn([]() -> int { throw fiber::cancelled{}; });
        own.wait();
        CHECK(own.cancelled());
        task<void> failed = spawn([] { throw std::runtime_error("no"); });
        CHECK(failed.wait_for(1h));
        CHECK(failed.wait_until(std::chrono::steady_clock::now() + 1h));
        const std::exception_ptr error = failed.exception();
        CHECK(error != nullptr);
        CHECK(own.uncancel() == 0);
        spawn([] {}).detach();
    });
}

TEST_CASE("shapes: promise, future, shared_future, on_done") {
    on_each_worker_count([] {
        fiber::promise<int> p;
        fiber::future<int> f = p.get_future();
        int calls = 0;
        f.on_done([&] { ++calls; });
        fiber::shared_future<int> s = f.share();
        p.set_value(3);
        CHECK(s.get() == 3);
        CHECK(calls == 1);
        fiber::promise<int> q;
        fiber::future<int> g = q.get_future();
        CHECK(g.cancel());
        CHECK_THROWS_AS(g.get(), fiber::cancelled);
    });
}

TEST_CASE("shapes: gather, outcomes, wait, as_completed") {
    on_each_worker_count([] {
        auto a = spawn([] { return std::string("text"); });
        auto b = spawn([] { return 2; });
        auto [text, n] = fiber::gather(std::move(a), std::move(b));
        CHECK(text == "text");
        CHECK(n == 2);
        auto [value, failure] = fiber::gather(
            fiber::return_exceptions, [] { return 1; }, []() -> int { throw std::runtime_error("no"); });
        CHECK(value.has_value());
        CHECK(value.value() == 1);
        CHECK_FALSE(failure.has_value());
        CHECK(failure.exception() != nullptr);
        CHECK_THROWS_AS((void)failure.value(), std::runtime_error);
        static_assert(std::is_same_v<decltype(value), fiber::outcome<int>>);
        auto nothing = fiber::gather([] {});
        static_assert(std::is_same_v<decltype(nothing), std::tuple<std::monostate>>);

        std::vector<task<int>> tasks;
        for (int i = 0; i < 3; ++i) tasks.push_back(spawn([i] { return i; }));
        auto [done, pending] = fiber::wait(tasks, fiber::first_completed, 100h);
        static_assert(std::is_same_v<decltype(done), std::vector<task<int>*>>);
        CHECK(done.size() + pending.size() == 3);
        int sum = 0;
        for (task<int>* t : fiber::as_completed(tasks, 5h)) sum += t->get();
        CHECK(sum == 3);
        std::vector<task<void>> voids;
        voids.push_back(spawn([] {}));
        static_assert(std::is_void_v<decltype(fiber::gather(voids))>);
        fiber::gather(voids);
    });
}

TEST_CASE("shapes: wait_for, with_timeout, timeout_scope, shield, uncancellable, call_later") {
    in_virtual_time([] {
        auto t = spawn([] { return 1; });
        int v = fiber::wait_for(t, 1s);
        v += fiber::wait_for(spawn([] { return 2; }), 1s);
        v += fiber::wait_for(1s, [] { return 3; });
        v += fiber::with_timeout(1s, [] { return 4; });
        v += fiber::with_timeout(std::nullopt, [] { return 5; });
        fiber::with_timeout(10ms, [](fiber::timeout_scope& s) {
            s.reschedule(2s);
            s.reschedule(std::nullopt);
            CHECK_FALSE(s.expired());
        });
        auto u = spawn([] { return 6; });
        v += fiber::shield(u).get();
        v += fiber::uncancellable([] { return 7; });
        CHECK(v == 28);
        auto h = fiber::call_later(50ms, [] {});
        bool ok = h.cancel();
        CHECK(ok);
        fiber::sleep_for(1s);
        fiber::sleep_until(fiber::now() + 1s);
        fiber::yield();
    });
}

TEST_CASE("shapes: task groups and what they throw") {
    on_each_worker_count([] {
        fiber::task_group g;
        auto one = g.spawn([] { return 1; });
        g.join();
        CHECK(one.get() == 1);
        try {
            fiber::with_task_group(
                [](fiber::task_group& group) { group.spawn([] { throw std::runtime_error("no"); }); });
        } catch (const fiber::exception_group& group) {
            std::span<const std::exception_ptr> all = group.exceptions();
            CHECK(all.size() == 1);
        }
    });
}

TEST_CASE("shapes: locks under std's guards, event, semaphores, latch, barrier, call_once") {
    on_each_worker_count([] {
        fiber::mutex m;
        fiber::timed_mutex timed;
        fiber::recursive_mutex recursive;
        fiber::shared_mutex shared;
        { const std::lock_guard guard(m); }
        { const std::scoped_lock both(m, timed, recursive); }
        { const std::shared_lock reading(shared); }
        std::unique_lock lock(timed, 1h);
        CHECK(lock.owns_lock());
        fiber::condition_variable condition;
        std::unique_lock held(m);
        CHECK(condition.wait_for(held, 0s) == std::cv_status::timeout);
        condition.notify_all();
        event e;
        e.set();
        e.wait();
        CHECK(e.is_set());
        e.clear();
        bool in_time = e.wait_for(0s);
        CHECK_FALSE(in_time);
        fiber::counting_semaphore<> semaphore(1);
        semaphore.acquire();
        semaphore.release();
        fiber::binary_semaphore binary(0);
        CHECK_FALSE(binary.try_acquire());
        fiber::latch latch(1);
        latch.arrive_and_wait();
        CHECK(latch.try_wait());
        fiber::barrier barrier(1);
        barrier.arrive_and_wait();
        fiber::once_flag once;
        fiber::call_once(once, [] {});
    });
}

TEST_CASE("shapes: channel, queue, select") {
    on_each_worker_count([] {
        fiber::channel<int> ch(4);
        bool pushed = ch.push(1);
        std::optional<int> popped = ch.pop();
        CHECK(pushed);
        CHECK(popped == 1);
        int item = 2;
        fiber::channel_status status = ch.try_push(item);
        CHECK(status == fiber::channel_status::ok);
        status = ch.try_pop(item);
        CHECK(status == fiber::channel_status::ok);
        CHECK(ch.try_pop(item) == fiber::channel_status::empty);
        CHECK(ch.pop_for(item, 0s) == fiber::channel_status::timeout);
        CHECK(ch.try_push(3));
        CHECK(ch.push_for(4, 1h));
        CHECK(ch.try_pop() == 3);
        CHECK(ch.pop_for(1h) == 4);
        fiber::channel<int> out(1);
        std::size_t taken = fiber::select(fiber::on_pop(ch, [](std::optional<int>) {}), fiber::on_push(out, 5, [] {}),
                                          fiber::on_timeout(50h, [] {}), fiber::otherwise([] {}));
        CHECK(taken == 1);
        out.close();
        for (int each : out) CHECK(each == 5);
        CHECK(out.pop() == std::nullopt);
        CHECK_FALSE(out.push(6));
        CHECK(out.try_push(item) == fiber::channel_status::closed);

        fiber::queue<int> q;
        q.put(1);
        CHECK(q.try_put(2));
        CHECK(q.get() == 1);
        std::optional<int> next = q.try_get();
        CHECK(next == 2);
        q.task_done();
        q.task_done();
        q.join();
        q.shutdown();
        CHECK_THROWS_AS(q.put(3), fiber::queue_shutdown);
        CHECK_THROWS_AS((void)q.get(), fiber::queue_shutdown);
        fiber::priority_queue<int> smallest(10);
        fiber::lifo_queue<int> last(10);
        for (int i : {2, 1, 3}) {
            smallest.put(i);
            last.put(i);
        }
        CHECK(smallest.get() == 1);
        CHECK(last.get() == 3);
        last.shutdown(true);
    });
}

TEST_CASE("shapes: local, context_var, pools, the handler of exceptions that nobody retrieved") {
    static fiber::local<int> l;
    static fiber::context_var<int> v{7};
    on_each_worker_count([] {
        *l = 1;
        auto token = v.set(2);
        CHECK(v.get() == 2);
        v.reset(token);
        CHECK(v.get() == 7);
        CHECK(fiber::to_thread([](int a) { return a; }, 3) == 3);
        fiber::future<int> by_default = fiber::run_in_executor([] { return 4; });
        CHECK(by_default.get() == 4);
        fiber::thread_pool pool{2};
        fiber::future<int> f = fiber::run_in_executor(
            pool, [](int a) { return a; }, 5);
        CHECK(f.get() == 5);
        pool.shutdown();
        auto before = fiber::set_unretrieved_exception_handler([](const fiber::unretrieved_exception&) {});
        fiber::set_unretrieved_exception_handler(before);
    });
}

namespace {
struct counter {
    int value = 3;
    int plus(int n) const { return value + n; }
    int get() const { return -1; }  // what a std::reference_wrapper has, too: it was called in place of plus()
    int take() && { return std::exchange(value, 0); }
    int& place() { return value; }
};
struct derived : counter {};
}  // namespace

TEST_CASE("shapes: members are called as std::invoke calls them") {
    on_each_worker_count([] {
        counter one;
        derived more;
        std::vector<counter> several(2);
        CHECK(spawn(&counter::plus, &one, 1).get() == 4);
        CHECK(spawn(&counter::plus, one, 1).get() == 4);
        CHECK(spawn(&counter::plus, std::ref(one), 1).get() == 4);
        CHECK(spawn(&counter::plus, more, 1).get() == 4);
        CHECK(spawn(&counter::plus, std::make_unique<derived>(), 1).get() == 4);
        CHECK(spawn(&counter::plus, std::make_shared<counter>(), 1).get() == 4);
        CHECK(spawn(&counter::plus, several.begin(), 1).get() == 4);
        CHECK(spawn(&counter::plus, std::optional(one), 1).get() == 4);
        CHECK(spawn(&counter::get, one).get() == -1);
        CHECK(spawn(&counter::take, counter()).get() == 3);
        CHECK(spawn(&counter::value, &one).get() == 3);
        CHECK(&spawn(&counter::place, &one).get() == &one.value);
    });
}

TEST_CASE("shapes: results that are references stay references") {
    std::unique_ptr<int> mine;
    const auto give = [&]() -> std::unique_ptr<int>& { return mine; };
    CHECK(&run(give) == &mine);
    CHECK(&run({.workers = 1}, give) == &mine);
    on_each_worker_count([&](runtime_fixture& fixture) {
        CHECK(&spawn(give).get() == &mine);
        CHECK(&fixture.runtime().spawn(give).get() == &mine);
        CHECK(&fiber::to_thread(give) == &mine);
        CHECK(&fiber::run_in_executor(give).get() == &mine);
        CHECK(&fiber::with_timeout(1h, give) == &mine);
        CHECK(&fiber::wait_for(spawn(give), 1h) == &mine);
        CHECK(&fiber::uncancellable(give) == &mine);
        CHECK(&fiber::with_task_group([&](fiber::task_group&) -> auto& { return mine; }) == &mine);
    });
}

TEST_CASE("shapes: a promise takes what is written in braces") {
    fiber::promise<std::vector<int>> several;
    auto result = several.get_future();
    several.set_value({1, 2, 3});
    CHECK(result.get() == std::vector<int>{1, 2, 3});
}
