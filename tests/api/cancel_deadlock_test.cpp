// Cancellation where it could go wrong: destructors of the library's types under a pending request, and tasks that wait
// for each other in a ring.
#include <stop_token>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

TEST_CASE("row 24: no destructor of the library's types throws a pending cancel, and all of them finish their work") {
    on_each_worker_count([] {
        std::atomic<int> cleaned_up{0};
        std::atomic<bool> reached_the_end{false};
        auto task = fiber::spawn([&] {
            const auto cleans_up = [&] {
                try {
                    park_until_cancelled();
                } catch (const fiber::cancelled&) {
                    fiber::yield();
                    ++cleaned_up;
                    throw;
                }
            };
            {
                auto child = fiber::spawn(cleans_up);
                fiber::task_group group;
                group.spawn(cleans_up);
                fiber::thread_pool pool(1);
                auto call = fiber::run_in_executor(pool, [&] { ++cleaned_up; });
                call.wait();
                fiber::promise<int> promise;
                auto future = promise.get_future();
                const auto later = fiber::call_later(1h, [] {});
                std::vector<fiber::task<void>*> some{&child};
                auto steps = fiber::as_completed(some);
                std::stop_source source;
                const auto link = fiber::cancel_on_stop(source.get_token(), child);
                settle();
                fiber::this_fiber::cancel();
            }
            reached_the_end = true;
            fiber::yield();
        });
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(reached_the_end);
        CHECK(cleaned_up == 3);
    });
}

namespace {

// Tasks that wait for each other in a ring, the first for the second, the last for the one with number `back_to`.
std::vector<fiber::task<void>> ring_of(int length, int back_to) {
    std::vector<fiber::task<void>> ring(static_cast<std::size_t>(length));
    const auto at = [&](int i) -> fiber::task<void>& { return ring[static_cast<std::size_t>(i)]; };
    fiber::event go;
    for (int i = 0; i < length; ++i) {
        at(i) = fiber::spawn([&go, &next = at(i + 1 < length ? i + 1 : back_to)] {
            go.wait();
            next.get();
        });
    }
    settle();
    go.set();
    settle();
    return ring;
}

}  // namespace

TEST_CASE("tasks that wait for each other in a ring can be cancelled: all of them end") {
    on_each_worker_count([] {
        for (const int length : {2, 3, 7}) {
            for (const int back_to : {0, length / 2 - 1, length - 2}) {
                auto ring = ring_of(length, back_to);
                for (const auto& each : ring) CHECK_FALSE(each.done());
                CHECK(ring[0].cancel("enough"));
                for (auto& each : ring) {
                    each.wait();
                    CHECK(each.cancelled());
                }
            }
        }
    });
}

// The second is called on the stack of the first, and waits for it.
TEST_CASE("a ring that is closed on one stack can be cancelled, from either end") {
    on_each_worker_count([] {
        for (const bool from_first : {true, false}) {
            std::optional<fiber::task<void>> second;
            fiber::event go;
            fiber::event spawned;
            fiber::task<void> first;
            first = fiber::spawn([&] {
                go.wait();
                second = fiber::spawn([&] { first.get(); });
                spawned.set();
                second->get();
            });
            go.set();
            spawned.wait();
            settle();
            CHECK((from_first ? first : *second).cancel());
            first.wait();
            second->wait();
            CHECK(first.cancelled());
            CHECK(second->cancelled());
        }
    });
}

TEST_CASE("a ring that is left when run ends does not keep it") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::vector<fiber::task<void>> kept;
        fixture.run([&] { kept = ring_of(3, 1); });
        for (auto& each : kept) CHECK(each.cancelled());
    });
}

TEST_CASE("a time limit ends a ring, and is told as one") {
    on_each_worker_count([] {
        std::optional<fiber::task<void>> second;
        fiber::event go;
        bool timed_out = false;
        auto first = fiber::spawn([&] {
            go.wait();
            try {
                fiber::with_timeout(5ms, [&] { second->get(); });
            } catch (const fiber::timeout_error&) {
                timed_out = true;
            }
        });
        second = fiber::spawn([&] {
            go.wait();
            first.get();
        });
        go.set();
        first.wait();
        second->wait();
        CHECK(timed_out);  // the second is cancelled with it, or sees it end, as it comes
    });
}
