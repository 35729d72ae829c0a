#include "scheduler/core/lifecycle.hpp"

#include <mutex>
#include <new>
#include <utility>

namespace fiber::engine {

namespace {

void free_slot(task_slot& slot) noexcept {
    slot.operations->destroy(slot);
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

void override_with_cancel(task_slot& task) noexcept {
    task.operations->override_with_cancel(task);
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

task_extras* extras_locked(task_slot& task) {
    if (task.extras == nullptr) task.extras = new task_extras;
    return task.extras;
}

}  // namespace

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
    void* memory = ::operator new (sizeof(task_slot) + payload, std::align_val_t{cache_line});
    auto* slot = new (memory) task_slot;
    slot->slot_size_class = heap_slot;
    prepare(*slot, operations, {});
    slot->state.store(task_slot::in_use | task_slot::started, std::memory_order_relaxed);  // in no queue, ever
    return *slot;
}

void abandon(task_slot& task) noexcept {
    static constexpr auto nothing = [](task_slot&) noexcept {};
    static constexpr task_operations empty{nullptr, nullptr, nullptr, nullptr, nothing};
    task.operations = &empty;
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

void release_runner(task_slot& task) noexcept {
    const std::uint64_t before = task.state.fetch_or(task_slot::runner_gone, std::memory_order_acq_rel);
    free_if_unused(task, before | task_slot::runner_gone);
}

void finish_promise(task_slot& promise) noexcept { finish_and_tell(promise); }

void release_handle(task_slot& task) noexcept {
    const std::uint64_t seen = task.state.load(std::memory_order_acquire);
    if ((seen & (task_slot::runner_gone | task_slot::queued)) == task_slot::runner_gone) return free_slot(task);
    const std::uint64_t before = task.state.fetch_or(task_slot::handle_gone, std::memory_order_acq_rel);
    free_if_unused(task, before | task_slot::handle_gone);
}

bool settle_begin(task_slot& promise) noexcept {
    return !(promise.state.fetch_or(task_slot::result_taken, std::memory_order_acq_rel) & task_slot::result_taken);
}

// --- looking on ---

observe_verdict observe(task_slot& task, observer& who) noexcept {
    std::lock_guard guard(task.lock);
    // finish() takes its fast path only as long as has_observers is not set: one of the two RMWs comes first.
    const std::uint64_t before = task.state.fetch_or(task_slot::has_observers, std::memory_order_acq_rel);
    if (before & task_slot::finished) return observe_verdict::already_finished;
    task.observers.push_back(who);
    return observe_verdict::observing;
}

bool unobserve(task_slot& task, observer& who) noexcept {
    std::lock_guard guard(task.lock);
    if (!who.linked()) return false;
    who.unlink();
    return true;
}

// --- cancellation ---

namespace {

constexpr std::uint64_t generation_of(std::uint64_t state) noexcept { return state >> 32; }

void tell_listener(task_slot& task, std::uint32_t generation) noexcept {
    std::shared_ptr<cancel_listener> listener;
    {
        std::lock_guard guard(task.lock);
        if (task.generation() == generation && task.extras != nullptr) listener = task.extras->listener;
    }
    if (listener != nullptr) deferred_listeners::tell(std::move(listener));
}

// Counts a request. false: not that task any more, or it has finished.
bool count_request(task_slot& task, std::uint32_t generation) noexcept {
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    std::uint64_t next = 0;
    do {
        if (generation_of(seen) != generation || (seen & task_slot::finished)) return false;
        next = (seen & task_slot::cancel_mask) == task_slot::cancel_mask ? seen : seen + task_slot::cancel_one;
    } while (!task.state.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire));
    if (seen & task_slot::has_listener) [[unlikely]]
        tell_listener(task, generation);
    return true;
}

// false: the task has finished meanwhile, and nobody will see the request.
[[nodiscard]] bool deliver(task_slot& task, std::uint32_t generation, const char* message) noexcept {
    if (message != nullptr) set_cancel_message(task, message);
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    do {
        if (generation_of(seen) != generation || (seen & task_slot::finished)) return false;
    } while (!task.state.compare_exchange_weak(seen, seen | task_slot::cancel_pending, std::memory_order_seq_cst,
                                               std::memory_order_acquire));  // park state, P3
    claim_parked_for_cancel(task, generation);
    return true;
}

bool cancel_promise(task_slot& promise) noexcept {
    if (!settle_begin(promise)) return false;
    promise.operations->drop(promise);
    finish_promise(promise);
    return true;
}

bool forward_under_lock(task_slot& task, std::uintptr_t tagged, const char* message) noexcept {
    const deferred_listeners until_unlocked;
    std::lock_guard guard(task.lock);
    if (task.awaiting.load(std::memory_order_relaxed) != tagged) return false;
    auto* forwarder = reinterpret_cast<cancel_forwarder*>(tagged & ~std::uintptr_t{1});
    return forwarder->forward(*forwarder, message);
}

}  // namespace

bool cancel(task_slot& task, const char* message) noexcept {
    if (task.pool == nullptr) return cancel_promise(task);
    return cancel_generation(task, task.generation(), message);
}

namespace {

struct asked {
    task_slot* task;
    std::uint32_t generation;
    bool operator==(const asked&) const = default;
};

// Those above the one that is to take a cancellation: each waits for the next. Of a long chain only the last are kept.
class chain_above {
 public:
    void push(asked one) noexcept {
        kept_[pushed_++ % most] = one;
        if (count_ < most) ++count_;
    }
    bool empty() const noexcept { return count_ == 0; }
    asked pop() noexcept {
        --count_;
        return kept_[--pushed_ % most];
    }

 private:
    static constexpr unsigned most = 16;  // so many would have to finish at the same moment to be too few
    asked kept_[most];
    unsigned pushed_ = 0;
    unsigned count_ = 0;
};

enum class pass_verdict : std::uint8_t { passed, taken, stays };

// From one that has been counted to the one it waits for, which is counted, too. taken: by a forwarder, for good.
pass_verdict pass_on(asked& at, const char* message) noexcept {
    task_slot& waiting = *at.task;
    const std::uintptr_t awaited = waiting.awaiting.load(std::memory_order_acquire);
    if (awaited & 1) {
        return forward_under_lock(waiting, awaited, message) ? pass_verdict::taken : pass_verdict::stays;
    }
    auto* target = reinterpret_cast<task_slot*>(awaited);
    if (target == nullptr) return pass_verdict::stays;
    const std::uint32_t generation = target->generation();
    // Read again: if it still waits for it, the generation is that of the task it waits for, or of one before it.
    if (waiting.awaiting.load(std::memory_order_acquire) != awaited || waiting.generation() != at.generation) {
        return pass_verdict::stays;
    }
    if (!count_request(*target, generation)) return pass_verdict::stays;
    at = {target, generation};
    return pass_verdict::passed;
}

}  // namespace

// Goes down the chain of tasks that wait for each other, counting at each; the last one gets it delivered. One that has
// finished between the count and the delivery takes nothing any more: then the one who waited for it, and goes on, must
// not go on as if nobody had asked. It gets the delivery, and passes it on itself if it waits for another by now.
bool cancel_generation(task_slot& task, std::uint32_t generation, const char* message) noexcept {
    const asked top{&task, generation};
    if (!count_request(task, generation)) return false;
    asked at = top;
    chain_above above;
    for (;;) {
        const asked before = at;
        const pass_verdict verdict = pass_on(at, message);
        if (verdict == pass_verdict::taken) return true;
        if (verdict == pass_verdict::stays) break;
        above.push(before);
    }
    while (!deliver(*at.task, at.generation, message)) {
        if (at == top) return false;
        at = above.empty() ? top : above.pop();
    }
    return true;
}

unsigned cancelling(const task_slot& task) noexcept {
    return static_cast<unsigned>((task.state.load(std::memory_order_acquire) & task_slot::cancel_mask) >> 16);
}

unsigned uncancel(task_slot& task) noexcept {
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    std::uint64_t next = 0;
    do {
        if ((seen & task_slot::cancel_mask) == 0) return 0;
        next = seen - task_slot::cancel_one;
        if ((next & task_slot::cancel_mask) == 0) next &= ~task_slot::cancel_pending;
    } while (!task.state.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire));
    return static_cast<unsigned>((next & task_slot::cancel_mask) >> 16);
}

std::shared_ptr<cancel_listener> cancel_listener_of(task_slot& task) noexcept {
    std::lock_guard guard(task.lock);
    return task.extras != nullptr ? task.extras->listener : nullptr;
}

bool replace_cancel_listener(task_slot& task, const cancel_listener* expected, std::shared_ptr<cancel_listener> fresh) {
    {
        std::lock_guard guard(task.lock);
        std::shared_ptr<cancel_listener>& stands = extras_locked(task)->listener;
        if (stands.get() != expected) return false;
        stands.swap(fresh);  // the one before goes after the lock
        task.state.fetch_or(task_slot::has_listener, std::memory_order_acq_rel);
    }
    // A cancel() before the flag stood did not look for a listener: it was counted.
    if (cancelling(task) != 0) tell_listener(task, task.generation());
    return true;
}

std::string cancel_message(task_slot& task) noexcept {
    std::lock_guard guard(task.lock);
    try {
        return task.extras != nullptr ? task.extras->cancel_message : std::string();
    } catch (const std::bad_alloc&) {
        return {};  // the cancellation counts, its message is a comfort
    }
}

void set_cancel_message(task_slot& task, const char* message) noexcept {
    try {
        std::lock_guard guard(task.lock);
        extras_locked(task)->cancel_message = message;
    } catch (const std::bad_alloc&) {
        // The cancellation counts, its message is a comfort.
    }
}

void set_forwarder(task_slot& self, cancel_forwarder* forwarder) noexcept {
    std::lock_guard guard(self.lock);
    const auto tagged = forwarder != nullptr ? reinterpret_cast<std::uintptr_t>(forwarder) | 1 : 0;
    self.awaiting.store(tagged, std::memory_order_release);
}

// --- for workers ---

void claim_parked_for_cancel(task_slot& task, std::uint32_t generation) noexcept {
    const claim_verdict verdict = task.park.claim_cancel([&] {
        const std::uint64_t seen = task.state.load(std::memory_order_seq_cst);
        return generation_of(seen) == generation && (seen & task_slot::cancel_pending);
    });
    if (verdict == claim_verdict::lost) return;
    if (task.park.complete(verdict) == complete_verdict::enqueue) make_runnable(task);
}

void mark_started_out_of_turn(task_slot& task) noexcept {
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    while (!task.state.compare_exchange_weak(seen, (seen & ~task_slot::queued) | task_slot::started,
                                             std::memory_order_acq_rel, std::memory_order_acquire)) {
    }
}

void drop_stale_entry(task_slot& entry) noexcept {
    const std::uint64_t before = entry.state.fetch_and(~task_slot::queued, std::memory_order_acq_rel);
    free_if_unused(entry, before & ~task_slot::queued);
}

void release_attachment(task_attachment*& attachment) noexcept {
    task_attachment* ends = std::exchange(attachment, nullptr);
    ends->release(ends);
}

}  // namespace fiber::engine
