#include "fiber/detail/completions.hpp"

#include <algorithm>
#include <mutex>

#include "fiber/error.hpp"
#include "fiber/this_fiber.hpp"
#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::detail {

using engine::task_slot;

struct completions::link : engine::observer {
    link() noexcept : observer(&finished) {}

    static void finished(observer& self, engine::wake_list& to_wake) noexcept {
        auto& me = static_cast<link&>(self);
        completions& owner = *me.owner;
        std::lock_guard guard(owner.lock_);
        owner.note_end_locked(me);
        if (!owner.reached_locked() && !owner.only_itself_left_locked()) return;
        if (engine::waiter* waiting = owner.waiting_.claim_first_locked()) to_wake.push_back(*waiting);
    }

    completions* owner = nullptr;
    task_slot* slot = nullptr;
    link* next_ready = nullptr;
    bool ended = false;
};

namespace {

std::size_t times_caller_in(task_slot* const* slots, std::size_t count) noexcept {
    engine::worker* here = engine::worker::current();
    const task_slot* self = here != nullptr ? here->current_task() : nullptr;
    return static_cast<std::size_t>(std::count(slots, slots + count, self));
}

}  // namespace

completions::completions(task_slot* const* slots, std::size_t count)
    : count_(count), own_(times_caller_in(slots, count)), links_(new link[count]) {
    for (std::size_t i = 0; i < count; ++i) {
        links_[i].owner = this;
        links_[i].slot = slots[i];
        if (engine::observe(*slots[i], links_[i]) == engine::observe_verdict::observing) continue;
        std::lock_guard guard(lock_);
        note_end_locked(links_[i]);
    }
}

// Those that have ended may be gone: only the others are touched. Behind unobserve() no observer is running any more.
completions::~completions() {
    for (std::size_t i = 0; i < count_; ++i) {
        if (!ended(i)) (void)engine::unobserve(*links_[i].slot, links_[i]);
    }
}

void completions::note_end_locked(link& ended) noexcept {
    ended.ended = true;
    ++ended_;
    any_failed_ |= ended.slot->is(task_slot::failed);
    *end_of_ready_ = &ended;
    end_of_ready_ = &ended.next_ready;
}

bool completions::ended(std::size_t index) const noexcept {
    std::lock_guard guard(lock_);
    return links_[index].ended;
}

bool completions::reached_locked() const noexcept {
    if (ended_ == count_ || goal_ == goal::all) return ended_ == count_;
    return goal_ == goal::one ? first_ready_ != nullptr : any_failed_;
}

bool completions::only_itself_left_locked() const noexcept { return own_ != 0 && ended_ + own_ == count_; }

bool completions::unreachable_locked() const noexcept {
    return only_itself_left_locked() || (own_ != 0 && goal_ == goal::all);
}

bool completions::wait_until_reached(engine::nanos deadline) {
    for (;;) {
        this_fiber::check_cancelled();
        std::unique_lock lock(lock_);
        if (reached_locked()) return true;
        if (deadline == engine::never && unreachable_locked()) {
            lock.unlock();
            throw usage_error("fiber: a task waits for itself, in wait() or as_completed(): that would never end");
        }
        const auto verdict = waiting_.wait_and_unlock(*lock.release(), deadline, engine::interruptible::yes);
        if (verdict == engine::wait_verdict::cancelled) continue;
        this_fiber::check_cancelled();
        std::lock_guard guard(lock_);
        if (reached_locked() || verdict == engine::wait_verdict::timed_out) return reached_locked();
    }
}

bool completions::wait(goal wanted, engine::nanos deadline) {
    {
        std::lock_guard guard(lock_);
        goal_ = wanted;
    }
    return wait_until_reached(deadline);
}

std::size_t completions::next(engine::nanos deadline) {
    if (!wait_until_reached(deadline)) return none;
    std::lock_guard guard(lock_);
    link& first = *first_ready_;
    first_ready_ = first.next_ready;
    if (first_ready_ == nullptr) end_of_ready_ = &first_ready_;
    return static_cast<std::size_t>(&first - links_.get());
}

}  // namespace fiber::detail
