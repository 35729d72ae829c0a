#include "scheduler/core/lifecycle.hpp"

#include <mutex>
#include <new>
#include <utility>

namespace fiber::engine {

namespace {

constexpr task_operations nothing_left{nullptr, nullptr, nullptr, nullptr, [](task_slot&) noexcept {}};

void free_slot(task_slot& slot) noexcept {
    slot.operations->destroy(slot);
    while (slot.locals != nullptr) release_attachment(slot.locals);  // of a destructor in the result
    if (slot.extras != nullptr) [[unlikely]] {
        std::lock_guard guard(slot.lock);  // introspection may be reading the name
        delete std::exchange(slot.extras, nullptr);
    }
    if (slot.context != nullptr) [[unlikely]]
        release_attachment(slot.context);
    recycle(slot);
}

// The slot is free when runner and handle have gone and no queue points to it. Called by whoever made one of these
// true.
void free_if_unused(task_slot& slot, std::uint64_t now) noexcept {
    constexpr std::uint64_t gone = task_slot::runner_gone | task_slot::handle_gone;
    if ((now & (gone | task_slot::queued)) == gone) free_slot(slot);
}

// A cancellation that was not delivered overrides a returned value, as in asyncio; an exception stands. Without the
// task's lock: the message is under it.
bool must_override(const task_slot& task, std::uint64_t seen) noexcept {
    return (seen & task_slot::cancel_pending) && !task.ends_cancelled && !task.ends_failed;
}

// The destructor of the value is the user's, and must not meet the cancellation that it is replaced with.
void override_with_cancel(task_slot& task) noexcept {
    ++task.uncancellable_depth;
    task.operations->override_with_cancel(task);
    --task.uncancellable_depth;
    task.ends_cancelled = true;
}

// The state after the end, from the one before it. A task that a joiner took physically out of its queue was never
// marked as started: nothing points to it any more.
std::uint64_t ended(const task_slot& task, std::uint64_t seen) noexcept {
    if (!(seen & task_slot::started)) seen = (seen & ~task_slot::queued) | task_slot::started;
    seen = (seen & ~task_slot::cancel_pending) | task_slot::finished;
    if (task.ends_cancelled) return seen | task_slot::was_cancelled;
    return task.ends_failed ? seen | task_slot::failed : seen;
}

void finish_and_tell(task_slot& task) noexcept {
    wake_list to_wake;
    std::unique_lock guard(task.lock);
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    do {
        if (must_override(task, seen)) {
            guard.unlock();
            override_with_cancel(task);
            guard.lock();
            seen = task.state.load(std::memory_order_acquire);
        }
    } while (!task.state.compare_exchange_weak(seen, ended(task, seen), std::memory_order_acq_rel,
                                               std::memory_order_acquire));
    while (observer* each = task.observers.pop_front()) each->on_finished(*each, to_wake);
    guard.unlock();
    to_wake.complete_all();
}

}  // namespace

task_extras* extras_locked(task_slot& task) {
    if (task.extras == nullptr) task.extras = new task_extras;
    return task.extras;
}

// --- birth ---

// `queued` from the start: the slot is counted as submitted only later, but cancelling it meanwhile harms nobody.
void prepare(task_slot& slot, const task_operations& operations, call_site site) noexcept {
    slot.operations = &operations;
    slot.stack.store(nullptr, std::memory_order_relaxed);
    slot.uncancellable_depth = 0;
    slot.ends_cancelled = false;
    slot.ends_failed = false;
    slot.site_file.store(site.file, std::memory_order_relaxed);
    slot.site_line.store(site.line, std::memory_order_relaxed);
    // Last: from here on the sweep at the end of run may see it.
    const std::uint64_t seen = slot.state.load(std::memory_order_relaxed);
    slot.state.store((seen & task_slot::generation_mask) | task_slot::in_use | task_slot::queued,
                     std::memory_order_release);
}

task_slot& allocate_promise(const task_operations& operations, std::size_t payload) {
    const bool fits = payload <= largest_payload;
    const std::uint8_t size_class = fits ? slot_class_for(payload) : heap_slot;
    task_slot* slot = fits ? reuse_promise(size_class) : nullptr;
    if (slot == nullptr) {
        const std::size_t room = fits ? slot_payloads[size_class] : payload;
        void* memory = ::operator new (sizeof(task_slot) + room, std::align_val_t{cache_line});
        slot = new (memory) task_slot;
        slot->slot_size_class = size_class;
    }
    prepare(*slot, operations, {});
    // In no queue, ever. finish_promise() takes the slow path in any case: observe() need not ask for it.
    slot->state.store(task_slot::in_use | task_slot::started | task_slot::has_observers, std::memory_order_relaxed);
    return *slot;
}

void abandon(task_slot& task) noexcept {
    task.operations = &nothing_left;
    free_slot(task);
}

void set_name(task_slot& task, std::string_view name) {
    std::lock_guard guard(task.lock);
    extras_locked(task)->name = name;
}

std::string name_of(task_slot& task) {
    std::lock_guard guard(task.lock);
    return task.extras != nullptr ? task.extras->name : std::string();
}

// --- end ---

void finish(task_slot& task) noexcept {
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    std::uint64_t next = 0;
    do {
        if (seen & task_slot::has_observers) [[unlikely]] {
            finish_and_tell(task);
            return release_runner(task);
        }
        if (must_override(task, seen)) [[unlikely]]
            override_with_cancel(task);
        next = ended(task, seen) | task_slot::runner_gone;
        // release: the result, to whoever sees `finished`.
    } while (!task.state.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire));
    free_if_unused(task, next);
}

// Who sees the other's bit is the last (acquire pairs with the RMW that set it), and needs no RMW of his own.
void release_runner(task_slot& task) noexcept {
    const std::uint64_t seen = task.state.load(std::memory_order_acquire);
    if ((seen & (task_slot::handle_gone | task_slot::queued)) == task_slot::handle_gone) return free_slot(task);
    const std::uint64_t before = task.state.fetch_or(task_slot::runner_gone, std::memory_order_acq_rel);
    free_if_unused(task, before | task_slot::runner_gone);
}

void finish_promise(task_slot& promise) noexcept { finish_and_tell(promise); }

void release_handle(task_slot& task) noexcept {
    const std::uint64_t seen = task.state.load(std::memory_order_acquire);
    if ((seen & (task_slot::runner_gone | task_slot::queued)) == task_slot::runner_gone) return free_slot(task);
    if (seen & task_slot::finished) {
        // Who held the result must not find it outliving him, because of a runner that still tells observers or an
        // entry that is still in a queue: it may point into his frame.
        task.operations->destroy(task);
        task.operations = &nothing_left;
    }
    const std::uint64_t before = task.state.fetch_or(task_slot::handle_gone, std::memory_order_acq_rel);
    free_if_unused(task, before | task_slot::handle_gone);
}

bool settle_begin(task_slot& promise) noexcept {
    if (promise.is(task_slot::result_taken)) return false;
    return !(promise.state.fetch_or(task_slot::result_taken, std::memory_order_acq_rel) & task_slot::result_taken);
}

// --- looking on ---

observe_verdict observe(task_slot& task, observer& who) noexcept {
    std::lock_guard guard(task.lock);
    // finish() takes its fast path only as long as has_observers is not set: one of the two RMWs comes first.
    // Where it is set already, finish_and_tell() sets `finished` under this lock.
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    if (!(seen & task_slot::has_observers)) {
        seen = task.state.fetch_or(task_slot::has_observers, std::memory_order_acq_rel);
    }
    if (seen & task_slot::finished) return observe_verdict::already_finished;
    task.observers.push_back(who);
    return observe_verdict::observing;
}

bool unobserve(task_slot& task, observer& who) noexcept {
    std::lock_guard guard(task.lock);
    if (!who.linked()) return false;
    who.unlink();
    return true;
}

// --- for workers ---

void mark_started_out_of_turn(task_slot& task) noexcept {
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    while (!task.state.compare_exchange_weak(seen, (seen & ~task_slot::queued) | task_slot::started,
                                             std::memory_order_acq_rel, std::memory_order_acquire)) {
    }
    if (task_slot* joiner = task.queue_next) announce_wait(*joiner, task);
}

void entry_dropped(task_slot& task, std::uint64_t now) noexcept { free_if_unused(task, now); }

void release_attachment(task_attachment*& attachment) noexcept {
    task_attachment* ends = std::exchange(attachment, nullptr);
    ends->release(ends);
}

}  // namespace fiber::engine
