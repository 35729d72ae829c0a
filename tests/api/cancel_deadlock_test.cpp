// Cancellation where it could go wrong: destructors of the library's types under a pending request, and tasks that wait
// for each other in a ring.
//
// The story of the rings through gather(). A cancellation was passed on to the children under the lock of the task that
// waited for them. Where one of the children waited for that task in turn, it came back to this lock and never
// returned; and two that cancelled such a ring from both ends took the locks in both orders. Code of the user's, too,
// ran under the lock: the callback of a future that was cancelled in this way. And each task on the way took some of
// the canceller's stack, so that a long way overflowed it.
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

namespace {

// The second is called on the stack of the first, and waits for it in the way that is given.
template <class Wait>
void cancel_ring_on_one_stack(Wait wait_for_first) {
    for (const bool from_first : {true, false}) {
        std::optional<fiber::task<void>> second;
        fiber::event go;
        fiber::event spawned;
        fiber::task<void> first;
        first = fiber::spawn([&] {
            go.wait();
            second = fiber::spawn([&] { wait_for_first(first); });
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
}

}  // namespace

TEST_CASE("a ring that is closed on one stack can be cancelled, from either end") {
    on_each_worker_count([] { cancel_ring_on_one_stack([](fiber::task<void>& first) { first.get(); }); });
}

// The story: the last of the ring could not take it, for what it waits for stands on its own stack; and the walk tried
// again and again.
TEST_CASE("a ring through a gather that is called on the stack of the one that waits for it") {
    on_each_worker_count([] { cancel_ring_on_one_stack([](fiber::task<void>& first) { fiber::gather(first); }); });
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

namespace {

enum class waits_by { get, gather, gather_with_another };

// As ring_of(length, 0); task i waits in the way `ways[i]`.
std::vector<fiber::task<void>> mixed_ring_of(const std::vector<waits_by>& ways) {
    std::vector<fiber::task<void>> ring(ways.size());
    fiber::event go;
    for (std::size_t i = 0; i < ways.size(); ++i) {
        ring[i] = fiber::spawn([&go, &next = ring[(i + 1) % ways.size()], way = ways[i]] {
            go.wait();
            if (way == waits_by::get) return next.get();
            auto another = fiber::spawn(park_until_cancelled);
            way == waits_by::gather ? (void)fiber::gather(next) : (void)fiber::gather(another, next);
        });
    }
    settle();
    go.set();
    settle();
    return ring;
}

void check_all_end_cancelled(std::vector<fiber::task<void>>& ring) {
    for (auto& each : ring) {
        each.wait();
        CHECK(each.cancelled());
    }
}

using enum waits_by;
const std::vector<std::vector<waits_by>> rings{
    {gather, gather},
    {gather, get},
    {get, gather},
    {gather_with_another, gather_with_another},
    {gather_with_another, get},
    {get, gather_with_another},
    {gather, get, gather, get, get},
    {get, get, gather_with_another, get, gather},
    {gather_with_another, gather, get, get, gather_with_another},
};

}  // namespace

TEST_CASE("a ring that goes through gather can be cancelled from each of its tasks: all of them end") {
    on_each_worker_count([] {
        for (const auto& ways : rings) {
            for (std::size_t from = 0; from < ways.size(); ++from) {
                auto ring = mixed_ring_of(ways);
                for (const auto& each : ring) CHECK_FALSE(each.done());
                CHECK(ring[from].cancel("enough"));
                check_all_end_cancelled(ring);
            }
        }
    });
}

TEST_CASE("two threads cancel a ring from both ends at once: all of it ends") {
    on_each_worker_count([] {
        for (int round = 0; round < 20; ++round) {
            for (const auto& ways : rings) {
                auto ring = mixed_ring_of(ways);
                std::jthread outside([&] { ring.back().cancel(); });
                ring.front().cancel();
                check_all_end_cancelled(ring);
            }
        }
    });
}

TEST_CASE("a task gathers itself through another that has not begun to wait: cancelling ends both") {
    on_each_worker_count([] {
        std::optional<fiber::task<void>> second;
        fiber::event go;
        auto first = fiber::spawn([&] {
            go.wait();
            fiber::this_fiber::cancel();
            fiber::gather(*second);
        });
        second = fiber::spawn([&] {
            go.wait();
            fiber::gather(first);
        });
        go.set();
        first.wait();
        second->wait();
        CHECK(first.cancelled());
        CHECK(second->cancelled());
    });
}

TEST_CASE("a cancellation goes down a long way of gathers on little stack, and counts once at each") {
    on_each_worker_count([] {
        constexpr std::size_t length = 2'000;
        std::vector<fiber::task<void>> way(length);
        std::atomic<std::size_t> waiting{0};
        way[0] = fiber::spawn([&] {
            ++waiting;
            park_until_cancelled();
        });
        for (std::size_t i = 1; i < length; ++i) {
            way[i] = fiber::spawn({.stack_size = 64 * 1024}, [&, &next = way[i - 1]] {
                ++waiting;
                fiber::gather(next);
            });
        }
        while (waiting != length) fiber::yield();
        settle();
        auto canceller = fiber::spawn({.stack_size = 64 * 1024}, [&] { return way.back().cancel("down there"); });
        CHECK(canceller.get());
        CHECK(way.front().cancelling() == 1);
        for (auto& each : way) each.wait();
        CHECK(way.front().cancelled());
        CHECK(way.back().cancelled());
    });
}

TEST_CASE("what is told of a cancelled future may cancel the task that waited for it") {
    on_each_worker_count([] {
        for (const bool by_gather : {false, true}) {
            fiber::promise<int> promise;
            auto future = promise.get_future();
            std::optional<fiber::task<void>> waiting;
            bool told = false;
            future.on_done([&] {
                waiting->cancel("again");
                told = true;
            });
            waiting = fiber::spawn([&] { by_gather ? (void)fiber::gather(future) : (void)future.get(); });
            settle();
            CHECK(waiting->cancel());
            waiting->wait();
            CHECK(told);
            CHECK(waiting->cancelled());
        }
    });
}
