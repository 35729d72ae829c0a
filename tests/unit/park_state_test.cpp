// The park state used by one thread: what each call says, in every order that the calls can come in.
#include "scheduler/park/park_state.hpp"

#include <doctest/doctest.h>

namespace {

using fiber::engine::claim_verdict;
using fiber::engine::commit_verdict;
using fiber::engine::complete_verdict;
using fiber::engine::park_epoch;
using fiber::engine::park_state;
using fiber::engine::wake_reason;

constexpr auto always = [] { return true; };
constexpr auto never_wanted = [] { return false; };

}  // namespace

TEST_SUITE_BEGIN("park state");

TEST_CASE("a wake that completes before the waiter leaves: the committer makes it runnable") {
    park_state park;
    const park_epoch epoch = park.begin(false);
    const claim_verdict won = park.claim(epoch, wake_reason::notified);
    CHECK(won == claim_verdict::won_before_leaving);
    CHECK_FALSE(park.completed());
    CHECK(park.complete(won) == complete_verdict::leave);
    CHECK(park.completed());
    CHECK(park.commit() == commit_verdict::runnable);
    CHECK(park.finish() == wake_reason::notified);
}

TEST_CASE("a wake that spans the waiter's leaving: whoever comes last makes it runnable") {
    park_state park;
    const park_epoch epoch = park.begin(false);
    const claim_verdict won = park.claim(epoch, wake_reason::timed_out);
    CHECK(won == claim_verdict::won_before_leaving);
    CHECK(park.commit() == commit_verdict::parked);
    CHECK(park.complete(won) == complete_verdict::enqueue);
    CHECK(park.finish() == wake_reason::timed_out);
}

TEST_CASE("a wake after the waiter has left: the winner makes it runnable") {
    park_state park;
    const park_epoch epoch = park.begin(false);
    CHECK(park.commit() == commit_verdict::parked);
    const claim_verdict won = park.claim(epoch, wake_reason::notified);
    CHECK(won == claim_verdict::won_after_leaving);
    CHECK(park.complete(won) == complete_verdict::enqueue);
    CHECK(park.finish() == wake_reason::notified);
}

TEST_CASE("only the first claim wins, whatever its reason") {
    park_state park;
    const park_epoch epoch = park.begin(true);
    CHECK(park.claim(epoch, wake_reason::timed_out) == claim_verdict::won_before_leaving);
    CHECK(park.claim(epoch, wake_reason::notified) == claim_verdict::lost);
    CHECK(park.claim(epoch, wake_reason::timed_out) == claim_verdict::lost);
    CHECK(park.claim_cancel(always) == claim_verdict::lost);
    CHECK(park.commit() == commit_verdict::parked);
    CHECK(park.claim(epoch, wake_reason::notified) == claim_verdict::lost);
    CHECK(park.complete(claim_verdict::won_before_leaving) == complete_verdict::enqueue);
    CHECK(park.claim(epoch, wake_reason::notified) == claim_verdict::lost);
    CHECK(park.finish() == wake_reason::timed_out);
}

TEST_CASE("a claim outside its epoch's wait loses and leaves no trace") {
    park_state park;
    CHECK(park.claim(0, wake_reason::notified) == claim_verdict::lost);
    CHECK(park.claim_cancel(always) == claim_verdict::lost);

    const park_epoch first = park.begin(false);
    CHECK(park.claim(first + 1, wake_reason::notified) == claim_verdict::lost);
    CHECK(park.claim(first - 1, wake_reason::notified) == claim_verdict::lost);
    CHECK(park.commit() == commit_verdict::parked);
    const claim_verdict won = park.claim(first, wake_reason::notified);
    CHECK(park.complete(won) == complete_verdict::enqueue);
    CHECK(park.finish() == wake_reason::notified);
    CHECK_FALSE(park.waiting());
    CHECK(park.claim(first, wake_reason::notified) == claim_verdict::lost);

    const park_epoch second = park.begin(false);
    CHECK(second != first);
    CHECK(park.waiting());
    CHECK_FALSE(park.completed());
    CHECK(park.claim(first, wake_reason::notified) == claim_verdict::lost);
    CHECK(park.commit() == commit_verdict::parked);
    CHECK(park.claim(second, wake_reason::timed_out) == claim_verdict::won_after_leaving);
    CHECK(park.finish() == wake_reason::timed_out);
}

TEST_CASE("cancellation claims only what is cancellable and still wanted") {
    park_state park;
    (void)park.begin(false);
    CHECK(park.claim_cancel(always) == claim_verdict::lost);
    CHECK(park.commit() == commit_verdict::parked);
    CHECK(park.claim_cancel(always) == claim_verdict::lost);
    CHECK(park.claim(1, wake_reason::notified) == claim_verdict::won_after_leaving);
    (void)park.finish();

    (void)park.begin(true);
    CHECK(park.claim_cancel(never_wanted) == claim_verdict::lost);
    CHECK(park.claim_cancel(always) == claim_verdict::won_before_leaving);
    CHECK(park.complete(claim_verdict::won_before_leaving) == complete_verdict::leave);
    CHECK(park.commit() == commit_verdict::runnable);
    CHECK(park.finish() == wake_reason::cancelled);

    (void)park.begin(true);
    CHECK(park.commit() == commit_verdict::parked);
    CHECK(park.claim_cancel(always) == claim_verdict::won_after_leaving);
    CHECK(park.finish() == wake_reason::cancelled);
}

TEST_CASE("a thread's wake: the futex word changes when the wait is complete, and not before the next begins") {
    park_state park;
    const park_epoch epoch = park.begin(false);
    CHECK(park.commit() == commit_verdict::parked);
    const auto asleep = park.futex_value();
    CHECK(park.futex_word()->load() == asleep);
    CHECK(park.claim(epoch, wake_reason::notified) == claim_verdict::won_after_leaving);
    CHECK_FALSE(park.completed());
    park.complete_for_thread();
    CHECK(park.completed());
    CHECK(park.futex_value() != asleep);
    CHECK(park.finish() == wake_reason::notified);
}

TEST_SUITE_END();
