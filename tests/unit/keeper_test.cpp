// Who watches the timers: of those who wait one does, or whoever arms a timer hears that nobody does. The steps of the
// workers are made here, one after the other, on one thread.
#include <doctest/doctest.h>
#include <memory>
#include <utility>
#include <vector>

#include "scheduler/core/scheduler.hpp"

using namespace fiber::engine;

namespace {

class hand_worker final : public worker_shared {
 public:
    explicit hand_worker(unsigned index) : worker_shared(index, false, 0) {}

    void arm(timer& node, nanos deadline, scheduler& home) {
        if (timers_.arm(node, deadline) == arm_verdict::earliest) home.timer_armed(deadline);
    }
    bool notified() { return idle_.word.load() & idle_member::notified; }
};

bool do_nothing(timer&) noexcept { return true; }

// Two workers wait; a third one runs.
class waiting_pair {
 public:
    waiting_pair() : home({.workers = 3}), limit(&do_nothing) {
        std::vector<std::unique_ptr<worker_shared>> all;
        for (unsigned i = 0; i < 3; ++i) all.push_back(std::make_unique<hand_worker>(i));
        home.adopt(std::move(all));
        home.idle().begin_wait(first().idle_place(), false);
        home.idle().begin_wait(latest().idle_place(), false);
    }
    ~waiting_pair() { timer_queue::cancel(limit); }

    hand_worker& first() { return static_cast<hand_worker&>(home.worker_at(0)); }
    hand_worker& latest() { return static_cast<hand_worker&>(home.worker_at(1)); }
    hand_worker& busy() { return static_cast<hand_worker&>(home.worker_at(2)); }

    // The one that began to wait last is notified while it is the keeper, and leaves.
    void keeper_leaves() {
        home.notify_one();
        REQUIRE(latest().notified());
        auto how = scheduler::keeping::not_kept;
        CHECK(home.sleep(latest(), how));
        CHECK(how == scheduler::keeping::kept);
        home.pass_on_keeping(how);
    }
    // What a worker does that was notified and finds work.
    void latest_finds_work() {
        CHECK(home.idle().found() == found_verdict::notify_another);
        home.appoint_keeper();
    }

    scheduler home;
    timer limit;
};

}  // namespace

TEST_SUITE_BEGIN("keeper");

TEST_CASE("a keeper that leaves timers behind appoints another") {
    waiting_pair workers;
    workers.busy().arm(workers.limit, never - 1, workers.home);
    workers.keeper_leaves();
    CHECK(workers.first().notified());
}

TEST_CASE("a keeper that leaves nothing behind disturbs nobody; who arms a timer then does") {
    waiting_pair workers;
    workers.keeper_leaves();
    workers.latest_finds_work();
    CHECK_FALSE(workers.first().notified());
    workers.latest().arm(workers.limit, never - 1, workers.home);
    CHECK(workers.first().notified());
}

// Woken to be the keeper, it finds work on its way.
TEST_CASE("who finds work on its way to watch the timers appoints another") {
    waiting_pair workers;
    workers.home.notify_one();
    workers.busy().arm(workers.limit, never - 1, workers.home);
    REQUIRE(workers.latest().notified());
    CHECK_FALSE(workers.first().notified());
    workers.latest_finds_work();
    CHECK(workers.first().notified());
}

TEST_CASE("the first descriptor finds somebody to watch it") {
    waiting_pair workers;
    workers.keeper_leaves();
    workers.latest_finds_work();
    CHECK_FALSE(workers.first().notified());
    workers.home.io_armed();
    CHECK(workers.first().notified());
}

TEST_SUITE_END();
