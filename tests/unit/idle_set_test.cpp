// The idle set used by one thread: who is counted as what, whom a notifier gets, and what each call says.
#include "scheduler/park/idle_set.hpp"

#include <array>
#include <doctest/doctest.h>

using fiber::engine::cancel_wait_verdict;
using fiber::engine::found_verdict;
using fiber::engine::idle_member;
using fiber::engine::idle_set;

TEST_SUITE_BEGIN("idle set");

TEST_CASE("nobody waits: nobody is notified") {
    idle_set idle(4);
    CHECK(idle.notify() == nullptr);
    CHECK(idle.notify_always() == nullptr);
    CHECK(idle.waiting() == 0);
    CHECK(idle.searching() == 0);
}

TEST_CASE("half of the workers, rounded up, may search at once") {
    for (const std::uint32_t workers : {1u, 2u, 3u, 4u, 16u}) {
        idle_set idle(workers);
        std::uint32_t searching = 0;
        while (idle.begin_search()) ++searching;
        CHECK(searching == (workers + 1) / 2);
        CHECK(idle.found() == found_verdict::leave);
        CHECK(idle.begin_search());
    }
}

TEST_CASE("the latest to wait is notified first, counted as searching, and stands for one wake-up at a time") {
    idle_set idle(4);
    std::array<idle_member, 3> workers;
    for (idle_member& each : workers) idle.begin_wait(each, false);
    CHECK(idle.waiting() == 3);
    CHECK(idle.notify() == &workers[2]);
    CHECK(idle.waiting() == 2);
    CHECK(idle.searching() == 1);
    CHECK(idle.notify() == nullptr);  // one is on its way
    CHECK(idle.notify_always() == &workers[1]);
    CHECK(idle.searching() == 2);
    CHECK(idle.found() == found_verdict::leave);  // another searches still
    CHECK(idle.found() == found_verdict::notify_another);
    CHECK(idle.notify() == &workers[0]);
    CHECK(idle.found() == found_verdict::leave);  // nobody waits
    CHECK(idle.searching() == 0);
}

TEST_CASE("a searching worker that waits is searching no more; it may take that back unless it was notified") {
    idle_set idle(2);
    idle_member worker;
    CHECK(idle.begin_search());
    idle.begin_wait(worker, true);
    CHECK(idle.searching() == 0);
    CHECK(idle.waiting() == 1);
    CHECK(idle.cancel_wait(worker) == cancel_wait_verdict::running);
    CHECK(idle.waiting() == 0);
    CHECK(idle.notify() == nullptr);

    idle.begin_wait(worker, false);
    CHECK(idle.notify() == &worker);
    CHECK(idle.cancel_wait(worker) == cancel_wait_verdict::notified);
    CHECK(idle.searching() == 1);
    CHECK(idle.waiting() == 0);
}

TEST_SUITE_END();
