// Every verb that takes a limit, with every kind of limit: row 34 of the semantics, and durations that are negative,
// not a number, or beyond the range of the clock.
#include <condition_variable>
#include <limits>
#include <shared_mutex>
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

// Is what f waits for there before it times out?
template <class F>
bool in_time(F f) {
    try {
        f();
        return true;
    } catch (const fiber::timeout_error&) {
        return false;
    }
}

// Names the verb in the failure; `holds` has been computed before, for doctest keeps messages by thread.
void expect(const std::string& name, bool holds) { CHECK_MESSAGE(holds, name); }

// The functions below call visit(name, wait, satisfy) for each verb: wait() is to run in a task of its own, waits with
// the limit, and says whether it was satisfied; satisfy() is for the caller. Nothing is satisfied to begin with.

template <class Limit, class Visit>
void visit_locks(Limit limit, Visit visit) {
    const auto visit_lock = [&](const char* name, auto& mutex, auto try_lock) {
        std::unique_lock held(mutex);
        visit(name, try_lock, [&] { held.unlock(); });
    };
    const auto try_lock = [limit](auto& mutex) {
        const bool locked = mutex.try_lock_for(limit);
        if (locked) mutex.unlock();
        return locked;
    };
    fiber::timed_mutex timed;
    visit_lock("timed_mutex", timed, [&] { return try_lock(timed); });
    fiber::recursive_timed_mutex recursive;
    visit_lock("recursive_timed_mutex", recursive, [&] { return try_lock(recursive); });
    fiber::shared_timed_mutex shared;
    visit_lock("shared_timed_mutex", shared, [&] { return try_lock(shared); });
    visit_lock("shared_timed_mutex, shared", shared, [&] {
        const bool locked = shared.try_lock_shared_for(limit);
        if (locked) shared.unlock_shared();
        return locked;
    });
    fiber::mutex mutex;
    fiber::condition_variable condition;
    bool ready = false;
    const auto notify = [&] {
        const std::lock_guard lock(mutex);
        ready = true;
        condition.notify_one();
    };
    visit(
        "condition_variable",
        [&] {
            std::unique_lock lock(mutex);
            return condition.wait_for(lock, limit) == std::cv_status::no_timeout;
        },
        notify);
    ready = false;
    visit(
        "condition_variable with a predicate",
        [&] {
            std::unique_lock lock(mutex);
            return condition.wait_for(lock, limit, [&] { return ready; });
        },
        notify);
}

template <class Limit, class Visit>
void visit_signals(Limit limit, Visit visit) {
    fiber::event event;
    visit(
        "event", [&] { return event.wait_for(limit); }, [&] { event.set(); });
    fiber::latch latch(1);
    visit(
        "latch", [&] { return latch.try_wait_for(limit); }, [&] { latch.count_down(); });
    fiber::barrier<> barrier(2);
    auto token = barrier.arrive();
    visit(
        "barrier", [&] { return barrier.try_wait_for(token, limit); }, [&] { (void)barrier.arrive(); });
    fiber::counting_semaphore<> semaphore(0);
    visit(
        "semaphore", [&] { return semaphore.try_acquire_for(limit); }, [&] { semaphore.release(); });
}

template <class Limit, class Visit>
void visit_channels(Limit limit, Visit visit) {
    fiber::channel<int> empty(1);
    visit(
        "channel::pop", [&] { return empty.pop_for(limit).has_value(); }, [&] { CHECK(empty.push(1)); });
    fiber::channel<int> full(1);
    CHECK(full.push(1));
    visit(
        "channel::push", [&] { return full.push_for(2, limit); }, [&] { CHECK(full.pop() == 1); });
    fiber::queue<int> nothing;
    visit(
        "queue::get", [&] { return nothing.get_for(limit).has_value(); }, [&] { nothing.put(1); });
    fiber::queue<int> one(1);
    one.put(1);
    visit(
        "queue::put", [&] { return one.put_for(2, limit); }, [&] { CHECK(one.get() == 1); });
    fiber::channel<int> other(1);
    visit(
        "select",
        [&] {
            return fiber::select(fiber::on_pop(other, [](std::optional<int>) {}), fiber::on_timeout(limit, [] {})) == 0;
        },
        [&] { CHECK(other.push(1)); });
}

template <class Limit, class Visit>
void visit_results(Limit limit, Visit visit) {
    const auto visit_result = [&](const char* name, auto wait) {
        fiber::event leave;
        auto task = fiber::spawn([&] { leave.wait(); });
        visit(
            name, [&] { return wait(task); }, [&] { leave.set(); });
    };
    visit_result("task::wait_for", [&](auto& task) { return task.wait_for(limit); });
    visit_result("shield::wait_for", [&](auto& task) { return fiber::shield(task).wait_for(limit); });
    visit_result("wait_for", [&](auto& task) { return in_time([&] { fiber::wait_for(task, limit); }); });
    visit_result("wait_for of a callable",
                 [&](auto& task) { return in_time([&] { fiber::wait_for(limit, [&] { task.wait(); }); }); });
    visit_result("wait_for of a shield",
                 [&](auto& task) { return in_time([&] { fiber::wait_for(fiber::shield(task), limit); }); });
    visit_result("with_timeout",
                 [&](auto& task) { return in_time([&] { fiber::with_timeout(limit, [&] { task.wait(); }); }); });
    visit_result("timeout_scope::reschedule", [&](auto& task) {
        return in_time([&] {
            fiber::with_timeout(std::nullopt, [&](fiber::timeout_scope& scope) {
                scope.reschedule(limit);
                task.wait();
            });
        });
    });
    visit_result("wait", [&](auto& task) { return !fiber::wait(std::vector{&task}, limit).done.empty(); });
    visit_result("as_completed", [&](auto& task) {
        return in_time([&] {
            for (auto* done : fiber::as_completed(std::vector{&task}, limit)) CHECK(done->done());
        });
    });
    fiber::promise<void> promise;
    auto future = promise.get_future();
    visit(
        "future::wait_for", [&] { return future.wait_for(limit); }, [&] { promise.set_value(); });
    fiber::promise<void> for_all;
    const auto shared = for_all.get_future().share();
    visit(
        "shared_future::wait_for", [&] { return shared.wait_for(limit); }, [&] { for_all.set_value(); });
}

template <class Limit, class Visit>
void visit_all(Limit limit, Visit visit) {
    visit_locks(limit, visit);
    visit_signals(limit, visit);
    visit_channels(limit, visit);
    visit_results(limit, visit);
}

template <class Limit>
void check_that_all_time_out(Limit limit, std::chrono::nanoseconds expected) {
    visit_all(limit, [&](const char* name, auto wait, auto) {
        const auto start = virtual_now();
        expect(name, !fiber::spawn(wait).get());
        expect(name, took(start, expected));
    });
    const auto start = virtual_now();
    fiber::spawn([&] { fiber::sleep_for(limit); }).get();
    CHECK(took(start, expected));
}

template <class Limit>
void check_that_all_wait(Limit limit) {
    visit_all(limit, [&](const char* name, auto wait, auto satisfy) {
        auto waiting = fiber::spawn(wait);
        fiber::sleep_for(std::chrono::years(1));
        expect(name, !waiting.done());
        satisfy();
        expect(name, waiting.get());
    });
    auto sleeping = fiber::spawn([&] { fiber::sleep_for(limit); });
    fiber::sleep_for(std::chrono::years(1));
    CHECK_FALSE(sleeping.done());
    CHECK(sleeping.cancel());
    CHECK_THROWS_AS(sleeping.get(), fiber::cancelled);
}

}  // namespace

TEST_CASE("row 34: every timed form gives up when its time has come, and not before") {
    in_virtual_time([](runtime_fixture& fixture) {
        check_that_all_time_out(50ms, 50ms);
        check_that_all_time_out(std::chrono::duration<double>(1.5), 1500ms);
        CHECK(fixture.runtime().statistics().timers == 0);
    });
}

TEST_CASE("row 34: every timed form is satisfied in time, and its timer disarmed") {
    in_virtual_time([](runtime_fixture& fixture) {
        visit_all(1h, [&](const char* name, auto wait, auto satisfy) {
            const auto start = virtual_now();
            auto waiting = fiber::spawn(wait);
            settle();
            satisfy();
            expect(name, waiting.get());
            expect(name, took(start, 0s));
            expect(name, fixture.runtime().statistics().timers == 0);
        });
    });
}

TEST_CASE("row 34: every timed form finds what is there already, whatever its limit") {
    in_virtual_time([] {
        for (const auto limit : {-1h, 0h, 1h}) {
            visit_locks(limit, [&](const std::string& name, auto wait, auto satisfy) {
                if (name == "condition_variable") return;  // a notification is for those who wait
                satisfy();
                expect(name, fiber::spawn(wait).get());
            });
            const auto check = [&](const std::string& name, auto wait, auto satisfy) {
                satisfy();
                settle();
                // These start with an expired limit, and notice at the first wait; the others look first.
                const bool cancels =
                    name == "with_timeout" || name == "timeout_scope::reschedule" || name == "wait_for of a callable";
                if (!cancels || limit > 0h) expect(name, fiber::spawn(wait).get());
            };
            visit_signals(limit, check);
            visit_channels(limit, check);
            visit_results(limit, check);
        }
    });
}

TEST_CASE("negative limits have passed, on every timed form") {
    in_virtual_time([] {
        check_that_all_time_out(-1ns, 0s);
        check_that_all_time_out(std::chrono::nanoseconds::min(), 0s);
        check_that_all_time_out(std::chrono::hours::min(), 0s);
        check_that_all_time_out(std::chrono::duration<double>(-std::numeric_limits<double>::infinity()), 0s);
    });
}

TEST_CASE("row 27: huge limits saturate, on every timed form: it waits, and can be satisfied") {
    in_virtual_time([] {
        check_that_all_wait(std::chrono::nanoseconds::max());
        check_that_all_wait(std::chrono::hours::max());
        check_that_all_wait(std::chrono::duration<double>(1e300));
        check_that_all_wait(std::chrono::duration<float>(std::numeric_limits<float>::infinity()));
    });
}

TEST_CASE("row 27: a limit that is not a number is refused, on every timed form, and changes nothing") {
    in_virtual_time([](runtime_fixture& fixture) {
        const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
        visit_all(nan, [&](const char* name, auto wait, auto satisfy) {
            bool refused = false;
            try {
                fiber::spawn(wait).get();
            } catch (const std::invalid_argument&) {
                refused = true;
            }
            expect(name, refused);
            satisfy();
        });
        CHECK_THROWS_AS(fiber::sleep_for(nan), std::invalid_argument);
        CHECK_THROWS_AS(fiber::call_later(nan, [] {}), std::invalid_argument);
        CHECK(fixture.runtime().statistics().timers == 0);
    });
}

// The distance between such a point and now is out of range: computed in the clock's own type it wrapped around, so
// that what was long past was waited for without end, and what was far ahead had passed.
TEST_CASE("row 27: time points at the ends of a clock's range: past or never") {
    using std::chrono::hours;
    using std::chrono::system_clock;
    in_virtual_time([] {
        fiber::event nothing;
        const auto has_passed = [&](auto when) {
            auto waiting = fiber::spawn([&] { (void)nothing.wait_until(when); });
            settle();
            return waiting.done();
        };
        CHECK(has_passed(system_clock::time_point::min()));
        CHECK(has_passed(std::chrono::time_point<system_clock, hours>::min()));
        CHECK(has_passed(std::chrono::steady_clock::time_point::min()));
        CHECK_FALSE(has_passed(system_clock::time_point::max()));
        CHECK_FALSE(has_passed(std::chrono::time_point<system_clock, hours>::max()));
        CHECK_FALSE(has_passed(std::chrono::steady_clock::time_point::max()));
        fiber::sleep_until(system_clock::time_point::min());
        CHECK_THROWS_AS(fiber::with_timeout(system_clock::time_point::min(), [] { fiber::yield(); }),
                        fiber::timeout_error);
        // Just below 2^63 ns; as a double it rounds up to that.
        CHECK_FALSE(has_passed(fiber::now() + std::chrono::duration<double>(9223372036.8547755)));
    });
}
