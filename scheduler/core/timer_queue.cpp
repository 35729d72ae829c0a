#include "scheduler/core/timer_queue.hpp"

#include <array>
#include <utility>

namespace fiber::engine {

namespace {

// Claims waiters, in order, each a few turns after it came: by then the cache line that a claim writes is there (bench
// sleep_storm).
class claims_on_their_way {
 public:
    explicit claims_on_their_way(wake_list& to_wake) noexcept : to_wake_(to_wake) {}
    ~claims_on_their_way() {
        for (std::size_t i = 0; i < places; ++i) claim(std::exchange(waiting_[next_++ % places], nullptr));
    }

    void push(waiter& late) noexcept {
        late.prefetch_for_claim();
        claim(std::exchange(waiting_[next_++ % places], &late));
    }

 private:
    static constexpr std::size_t places = 8;

    void claim(waiter* late) noexcept {
        if (late != nullptr && late->claim(wake_reason::timed_out)) to_wake_.push_back(*late);
    }

    wake_list& to_wake_;
    std::array<waiter*, places> waiting_{};
    std::size_t next_ = 0;
};

}  // namespace

std::size_t timer_queue::expire(nanos now) noexcept {
    wake_list to_wake;
    timer* calls = nullptr;
    timer** end_of_calls = &calls;
    std::size_t expired = 0;
    {
        std::lock_guard guard(lock_);
        claims_on_their_way claims(to_wake);
        expired = wheel_.expire(now, [&](timer_node& node) {
            auto& due = static_cast<timer&>(node);
            if (due.who_ != nullptr) return claims.push(*due.who_);
            due.calling_.store(true, std::memory_order_relaxed);  // cancel_here() reads it under the lock
            due.next_call_ = nullptr;
            *end_of_calls = &due;
            end_of_calls = &due.next_call_;
        });
        next_.store(wheel_.next_expiry(), std::memory_order_seq_cst);
    }
    to_wake.complete_all();
    while (calls != nullptr) {
        timer* due = calls;
        calls = due->next_call_;  // before the call: afterwards the node may be gone
        if (due->call_(*due)) due->calling_.store(false, std::memory_order_release);  // pairs with cancel_here()
    }
    return expired;
}

bool timer_queue::cancel_here(timer& node) noexcept {
    {
        std::lock_guard guard(lock_);
        if (wheel_.cancel(node)) return true;
    }
    // acquire pairs with the release in expire(): the call's writes are seen, and its node is left alone from here on.
    for (int spins = 0; node.calling_.load(std::memory_order_acquire); ++spins) {
        spins < 100 ? cpu_pause() : static_cast<void>(::sched_yield());  // the call may have been preempted
    }
    return false;
}

}  // namespace fiber::engine
