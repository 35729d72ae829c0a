#include "fiber/gather.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>

#include "fiber/this_fiber.hpp"
#include "scheduler/core/current.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::detail {

namespace {

using engine::task_slot;

bool is_failure(const task_slot& slot) noexcept { return slot.is(task_slot::failed | task_slot::was_cancelled); }

// One gather while it waits. The children tell it through observers, each under its own lock; whoever brings the last
// end, or the first failure, claims the one waiter. A cancellation of the caller comes in through passes().
class gathering : engine::cancel_forwarder {
 public:
    gathering(task_slot* const* children, std::size_t count, gather_mode mode)
        : cancel_forwarder{children, count, &passes, &comes_back}, mode_(mode), links_(new link[count]), open_(count) {
        for (std::size_t i = 0; i < count; ++i) links_[i].owner = this;
    }

    // Returns when all have finished, or (mode first_failure, not cancelled) one has failed.
    void wait() {
        for (std::size_t i = 0; i < count; ++i) {
            links_[i].child = children[i];
            if (engine::observe(*children[i], links_[i]) == engine::observe_verdict::already_finished)
                note_end(*children[i]);
        }
        park_until_over();
        for (std::size_t i = 0; i < count; ++i) (void)engine::unobserve(*children[i], links_[i]);
    }

    bool was_cancelled() const noexcept { return cancelled_.load(std::memory_order_acquire); }
    // Requires: the wait is over.
    const std::string& message() const noexcept { return message_; }
    // The first that failed; nullptr if none.
    task_slot* first_failure() const noexcept { return failure_.load(std::memory_order_acquire); }

 private:
    struct link : engine::observer {
        link() noexcept : observer(&finished) {}
        static void finished(observer& self, engine::wake_list& to_wake) noexcept {
            auto& me = static_cast<link&>(self);
            me.owner->note_end(*me.child);
            if (me.owner->over()) me.owner->claim_waiter(to_wake);
        }
        gathering* owner = nullptr;
        task_slot* child = nullptr;
    };

    void note_end(task_slot& child) noexcept {
        if (is_failure(child)) {
            task_slot* none = nullptr;
            failure_.compare_exchange_strong(none, &child, std::memory_order_acq_rel);
        }
        open_.fetch_sub(1, std::memory_order_acq_rel);
    }

    bool over() const noexcept {
        if (open_.load(std::memory_order_acquire) == 0) return true;
        return mode_ == gather_mode::first_failure && !was_cancelled() && first_failure() != nullptr;
    }

    // Under some child's lock; several children may come at once, and the waiter's lock guards the waiter's coming and
    // going.
    void claim_waiter(engine::wake_list& to_wake) noexcept {
        std::lock_guard guard(lock_);
        if (waiter_ != nullptr && waiter_->claim(engine::wake_reason::notified)) to_wake.push_back(*waiter_);
    }

    void park_until_over() {
        engine::worker* here = engine::worker::current();
        task_slot* self = here != nullptr ? here->current_task() : nullptr;
        const bool interruptible = self != nullptr && engine::may_be_interrupted(*self);
        if (interruptible) engine::set_forwarder(*self, this);
        while (!over()) {
            park_once();
            // Cancelled while nobody was there to take it, or before the forwarder stood, or one child waits for this
            // task.
            if (self != nullptr && engine::take_cancel(*self) && !pass_on(*self)) break;
        }
        if (interruptible) engine::set_forwarder(*self, nullptr);
    }

    void park_once() {
        engine::waiter self;
        self.begin(engine::interruptible::yes);
        {
            std::lock_guard guard(lock_);
            waiter_ = &self;
        }
        if (over() && self.claim(engine::wake_reason::notified)) self.complete();
        (void)self.wait();
        std::lock_guard guard(lock_);
        waiter_ = nullptr;
    }

    static void passes(cancel_forwarder& me, const char* message) noexcept {
        static_cast<gathering&>(me).note_cancel(message);
    }
    static void comes_back(cancel_forwarder& me) noexcept {
        static_cast<gathering&>(me).in_a_ring_.store(true, std::memory_order_release);
    }

    void note_cancel(const char* message) noexcept {
        if (message != nullptr) keep_message(message);
        cancelled_.store(true, std::memory_order_release);
    }

    // false: a child waits for the caller, which must not wait for it any longer.
    bool pass_on(task_slot& self) {
        const std::string text = engine::cancel_message(self);
        const char* message = text.empty() ? nullptr : text.c_str();
        note_cancel(message);
        if (in_a_ring_.load(std::memory_order_acquire)) return false;  // the children have had it
        bool ring = false;
        for (std::size_t i = 0; i < count; ++i) {
            task_slot& child = *children[i];
            // Who neither takes it nor has finished had it come back to the caller.
            ring |= !engine::cancel(child, message, &self) && child.pool != nullptr && !child.is(task_slot::finished);
        }
        return !ring;
    }

    void keep_message(const char* message) noexcept {
        std::lock_guard guard(lock_);
        try {
            message_ = message;
        } catch (const std::bad_alloc&) {
            // The cancellation counts, its message is a comfort.
        }
    }

    const gather_mode mode_;
    const std::unique_ptr<link[]> links_;
    std::atomic<std::size_t> open_;
    std::atomic<task_slot*> failure_{nullptr};
    std::atomic<bool> cancelled_{false};
    std::atomic<bool> in_a_ring_{false};
    engine::spin_lock lock_;
    engine::waiter* waiter_ = nullptr;
    std::string message_;
};

void require_others(task_slot* const* children, std::size_t count) {
    engine::worker* here = engine::worker::current();
    task_slot* self = here != nullptr ? here->current_task() : nullptr;
    if (self != nullptr && std::find(children, children + count, self) != children + count) {
        throw usage_error("fiber: gather() was given the task that calls it: that would never end");
    }
}

void mark_all_retrieved(task_slot* const* children, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i)
        children[i]->state.fetch_or(task_slot::retrieved, std::memory_order_acq_rel);
}

}  // namespace

void gather_wait(task_slot* const* children, std::size_t count, gather_mode mode) {
    if (count == 0) return;
    require_others(children, count);
    gathering all(children, count, mode);
    all.wait();
    task_slot* failure = all.first_failure();
    if (failure != nullptr) mark_all_retrieved(children, count);  // later failures count as seen
    if (all.was_cancelled()) {
        // A child that failed in its clean-up is told of in the plain form; otherwise the caller ends as it was asked
        // to.
        if (mode == gather_mode::first_failure) {
            for (std::size_t i = 0; i < count; ++i) {
                if (children[i]->is(task_slot::failed)) rethrow_result(result_base::of(*children[i]));
            }
        }
        throw cancelled(all.message());
    }
    this_fiber::check_cancelled();
    if (mode == gather_mode::first_failure && failure != nullptr) rethrow_result(result_base::of(*failure));
}

void require_distinct(task_slot* const* children, std::size_t count) {
    std::vector<task_slot*> sorted(children, children + count);
    std::erase(sorted, nullptr);
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
        throw std::logic_error(
            "fiber: gather() was given the same task twice; share() a future to wait for it in two places");
    }
}

void cancel_unfinished(task_slot& slot) noexcept { (void)engine::cancel(slot, nullptr); }

void join_unfinished(task_slot& slot) noexcept { (void)engine::join(slot, engine::interruptible::no); }

}  // namespace fiber::detail
