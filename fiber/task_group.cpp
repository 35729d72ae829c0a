#include "fiber/task_group.hpp"

#include <mutex>
#include <vector>

#include "fiber/this_fiber.hpp"
#include "fiber/unretrieved.hpp"
#include "scheduler/core/current.hpp"
#include "scheduler/core/scheduler.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber {

using engine::task_slot;

namespace {

task_slot* running_task() noexcept {
    engine::worker* here = engine::worker::current();
    return here != nullptr ? here->current_task() : nullptr;
}

task_slot* required_parent() {
    task_slot* self = running_task();
    if (self == nullptr) throw usage_error("fiber: a task_group needs a parent task: make it on a fiber");
    return self;
}

bool is_cancellation(const std::exception_ptr& error) noexcept {
    if (error == nullptr) return false;
    try {
        std::rethrow_exception(error);
    } catch (const cancelled&) {
        return true;
    } catch (...) {
        return false;
    }
}

void clear_pending(task_slot& self) noexcept {
    self.state.fetch_and(~task_slot::cancel_pending, std::memory_order_acq_rel);
}

}  // namespace

// One task of a group, as the group knows it, from spawn to the end of the task; one that failed, to the end of the
// group. The task's slot is there as long as the member is linked.
struct task_group::member final : engine::observer, engine::deferred_call {
    member() noexcept
        : observer([](observer& self, engine::wake_list& later) noexcept {
              later.push_back(static_cast<member&>(self));  // it takes the group's lock: not under the task's
          }),
          deferred_call{[](deferred_call* self) noexcept {
              auto& ended = static_cast<member&>(*self);
              ended.group->note_end(ended);
          }} {
        link.owner = this;
    }

    task_group* group = nullptr;
    task_slot* slot = nullptr;
    member_link link;
    std::exception_ptr error;
    member* next_failed = nullptr;
};

void task_group::place_deleter::operator()(member* place) const noexcept { delete place; }
task_group::place task_group::make_place() { return place(new member); }

task_group::task_group() : parent_(required_parent()) {
    cancelling_on_entry_ = engine::cancelling(*parent_);
    pending_on_entry_ = parent_->is(task_slot::cancel_pending);
}

task_group::~task_group() {
    if (!left_) {
        abort();
        (void)wait_for_members(engine::interruptible::no);
        settle_parent();
    }
    while (first_failed_ != nullptr) {
        const place failed(std::exchange(first_failed_, first_failed_->next_failed));
        detail::report_unretrieved(*parent_, failed->error);
    }
}

// --- tasks come and go ---

const char* task_group::why_closed_locked(const task_slot& slot) const noexcept {
    if (closed_) return "fiber: task_group::spawn() on a group that was joined: it takes no more tasks";
    if (aborting_)
        return "fiber: task_group::spawn() on a group that is shutting down: a task has failed, or it was cancelled";
    if (slot.pool != parent_->pool) return "fiber: task_group::spawn() on a task of another runtime";
    return nullptr;
}

void task_group::admit(task_slot& slot, place taken) {
    taken->group = this;
    taken->slot = &slot;
    (void)engine::observe(slot, *taken);
    const char* refusal = nullptr;
    {
        std::lock_guard guard(lock_);
        refusal = why_closed_locked(slot);
        if (refusal == nullptr) {
            running_.push_back(taken.release()->link);
            ++open_;
        }
    }
    if (refusal == nullptr) return engine::submit(slot);
    (void)engine::unobserve(slot, *taken);
    slot.state.fetch_and(~task_slot::queued, std::memory_order_relaxed);
    engine::end_unstarted(slot);
    throw usage_error(refusal);
}

// After a task has finished, before its slot is let go. When the last one has been counted down, the group may be gone.
void task_group::note_end(member& ended) noexcept {
    const bool failed = ended.slot->is(task_slot::failed);
    if (failed) {
        ended.error = detail::result_base::of(*ended.slot).exception();
        ended.slot->state.fetch_or(task_slot::retrieved, std::memory_order_acq_rel);
        if (note_failure(ended)) (void)engine::cancel(*parent_, nullptr);
    }
    engine::waiter* parent = nullptr;
    {
        std::lock_guard guard(lock_);
        if (!failed) ended.link.unlink();
        if (--open_ == 0) parent = parent_waits_.claim_first_locked();
    }
    if (!failed) delete &ended;
    if (parent != nullptr) parent->complete();
}

// The first failure has the others cancelled. Returns whether the parent is to be cancelled: it is still in the body.
bool task_group::note_failure(member& failed) noexcept {
    {
        std::lock_guard guard(lock_);
        failed.link.unlink();
        *end_of_failed_ = &failed;
        end_of_failed_ = &failed.next_failed;
        if (std::exchange(aborting_, true)) return false;
        parent_cancelled_ = !exiting_;
    }
    cancel_members();
    std::lock_guard guard(lock_);
    return parent_cancelled_;
}

void task_group::abort() noexcept {
    {
        std::lock_guard guard(lock_);
        exiting_ = true;
        if (std::exchange(aborting_, true)) return;
    }
    cancel_members();
}

// Cancels without the lock: by the generation, for the task may end meanwhile. The runtime is the parent's: its slots
// stay.
void task_group::cancel_members() noexcept {
    for (;;) {
        task_slot* slot = nullptr;
        std::uint32_t generation = 0;
        {
            std::lock_guard guard(lock_);
            member_link* next = running_.pop_front();
            if (next == nullptr) return;
            told_to_end_.push_back(*next);
            slot = next->owner->slot;
            generation = slot->generation();
        }
        (void)engine::cancel_generation(*slot, generation, nullptr);
    }
}

// --- leaving ---

void task_group::join() {
    if (running_task() != parent_) {
        throw usage_error("fiber: task_group::join() was called by another task than the one that made the group");
    }
    if (left_) throw usage_error("fiber: task_group::join() was called twice");
    leave(nullptr);
}

void task_group::leave(std::exception_ptr body_error) {
    if (std::exchange(left_, true)) {
        if (body_error != nullptr) std::rethrow_exception(body_error);
        return;
    }
    const bool body_cancelled = is_cancellation(body_error);
    if (body_error != nullptr) {
        abort();
    } else {
        std::lock_guard guard(lock_);
        exiting_ = true;
    }
    const bool interrupted = wait_for_members(engine::interruptible::yes);
    settle_parent();
    if (first_failed_ != nullptr || (body_error != nullptr && !body_cancelled)) {
        throw_errors(body_cancelled ? nullptr : std::move(body_error));
    }
    if (!body_cancelled && !interrupted) return;
    (void)engine::take_cancel(*parent_);  // one `cancelled` stands for all requests that came until now
    if (body_cancelled) std::rethrow_exception(body_error);
    throw cancelled(engine::cancel_message(*parent_));
}

// Returns whether the parent was cancelled meanwhile; the first such request has the tasks cancelled.
bool task_group::wait_for_members(engine::interruptible mode) noexcept {
    bool interrupted = false;
    for (;;) {
        lock_.lock();
        if (open_ == 0) {
            closed_ = true;
            lock_.unlock();
            return interrupted;
        }
        const auto now = aborting_ ? engine::interruptible::no : mode;
        if (parent_waits_.wait_and_unlock(lock_, engine::never, now) == engine::wait_verdict::cancelled &&
            engine::take_cancel(*parent_)) {
            interrupted = true;
            abort();
        }
    }
}

// Takes the group's own cancellation of its parent back, so that only requests from outside are counted.
void task_group::settle_parent() noexcept {
    if (!parent_cancelled_) return;
    if (engine::uncancel(*parent_) <= cancelling_on_entry_ && !pending_on_entry_) clear_pending(*parent_);
}

// Throws the group of all exceptions. A request from outside is delivered again: it must not get lost behind them.
void task_group::throw_errors(std::exception_ptr body_error) {
    std::vector<std::exception_ptr> errors;
    for (const member* each = first_failed_; each != nullptr; each = each->next_failed) errors.push_back(each->error);
    if (body_error != nullptr) errors.push_back(std::move(body_error));
    const exception_group all("unhandled errors in a task_group", std::move(errors));
    while (first_failed_ != nullptr) delete std::exchange(first_failed_, first_failed_->next_failed);
    if (engine::cancelling(*parent_) > cancelling_on_entry_) {
        const std::string message = engine::cancel_message(*parent_);
        (void)engine::uncancel(*parent_);
        (void)engine::cancel(*parent_, message.empty() ? nullptr : message.c_str());
    }
    throw all;
}

}  // namespace fiber
