#include "scheduler/core/worker.hpp"

#include <utility>

#include "scheduler/context/overflow.hpp"
#include "scheduler/core/caller.hpp"
#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/scheduler.hpp"

namespace fiber::engine {

namespace {

// initial-exec: one segment-relative load, also in the shared library.
thread_local worker* this_thread_worker __attribute__((tls_model("initial-exec"))) = nullptr;

constexpr std::uint32_t most_spare_promises = 16'384;  // per class; bench pingpong_future holds 10,000 at once
constexpr std::uint32_t pooled_stacks = 64;            // per class and worker; what exceeds it goes back to the arena

void free_promise(task_slot& slot) noexcept {
    slot.~task_slot();
    ::operator delete (&slot, std::align_val_t{cache_line});
}

}  // namespace

// Not inlined, and opaque to the optimiser, so that no caller keeps the thread-local's address across a switch.
__attribute__((noinline)) worker* worker::current() noexcept {
    asm volatile("" ::: "memory");
    return this_thread_worker;
}

// Here because of the thread-local: one call for each lock and unlock, not two (bench mutex).
__attribute__((noinline)) caller_tag current_caller() noexcept {
    asm volatile("" ::: "memory");
    const worker* here = this_thread_worker;
    const task_slot* task = here != nullptr ? here->current_task() : nullptr;
    if (task == nullptr) [[unlikely]]
        return thread_caller();
    return reinterpret_cast<std::uintptr_t>(task) | caller_place_of(here->index());
}

worker::worker(scheduler& home, unsigned index)
    : worker_shared(index, home.worker_count() == 1, home.now()),
      scheduler_(home),
      alone_(home.worker_count() == 1),
      default_class_(home.settings().default_class),
      random_(index * 2654435769u + 1),
      sightings_(new sighting[home.worker_count()]) {}

worker::~worker() { release_all_stacks(); }

void worker::prepare() {
    release_stack(acquire_stack(default_class_));
    reserve_ = fiber_stack::acquire(scheduler_.stacks(), default_class_, &worker::loop);
}

void worker::run() noexcept {
    const alternate_signal_stack signal_stack;
    exceptions_ = thread_exception_globals();
    stack_ = acquire_stack(default_class_);  // prepare() has seen to it
    this_thread_worker = this;
    switch_to(thread_context_, stack_->where, this, *exceptions_);
    after_switch();
    this_thread_worker = nullptr;
    release_all_stacks();
    scheduler_.tasks().give_back(slots_);
    for (std::uint8_t c = 0; c < slot_class_count; ++c) {
        while (task_slot* promise = promises_.take(c)) free_promise(*promise);
    }
}

// --- switching ---

// Who runs next, and where, is noted before the jump: what it is is known on this side, while on the other it would
// have to come from the stack that is being loaded (bench yield). Returns where to go.
inline fiber_stack& worker::turn_to(task_slot* next) noexcept {
    task_slot* task = task_;
    // Stored once: a load that hits the store of the turn before would wait for it.
    if (task->stack.load(std::memory_order_relaxed) != stack_) task->stack.store(stack_, std::memory_order_relaxed);
    departed_task_ = task;
    stack_ = &stack_of(next);
    return *stack_;
}

inline void worker::after_switch() noexcept {
    switch (std::exchange(departed_how_, departure::none)) {
        case departure::none:
            return;
        case departure::yield:
            return push(*departed_task_);
        case departure::park:
            if (commit_park(*departed_task_) == commit_verdict::runnable) push_woken(*departed_task_);
            return;
        case departure::release_stack:
            return release_stack(departed_stack_);
    }
}

void worker::park() noexcept {
    worker* self = current();
    task_slot& task = *self->task_;
    if (!task.is(task_slot::started)) mark_started_out_of_turn(task);
    if (task.park.completed()) return;
    task_slot* next = self->take();
    self->departed_how_ = departure::park;
    fiber_stack& here = *self->stack_;
    fiber_stack& there = self->turn_to(next);
    auto* now = static_cast<worker*>(switch_to(here.where, there.where, self, *self->exceptions_));
    now->after_switch();
}

namespace {

bool is_cancel_pending(const task_slot& task) noexcept {
    return task.state.load(std::memory_order_relaxed) & task_slot::cancel_pending;
}

}  // namespace

turn worker::begin_turn() noexcept {
    worker* self = this_thread_worker;  // as current(): this function is not inlined either, and reads it once
    if (self == nullptr || self->task_ == nullptr) [[unlikely]]
        return turn::without_jump(true);
    task_slot& task = *self->task_;
    const std::uint64_t seen = task.state.load(std::memory_order_relaxed);
    if ((seen & (task_slot::started | task_slot::cancel_pending)) != task_slot::started) [[unlikely]] {
        if ((seen & task_slot::cancel_pending) && self->may_be_interrupted(task)) return turn::without_jump(true);
        if (!(seen & task_slot::started)) mark_started_out_of_turn(task);
    }
    task_slot* next = self->alone_ ? self->take_in_exchange(task) : self->take_among_others(task);
    if (next == &task) return turn::without_jump(is_cancel_pending(task));
    fiber_stack& here = *self->stack_;
    fiber_stack& there = self->turn_to(next);
#if FIBER_ASAN || FIBER_TSAN
    auto* now = static_cast<worker*>(switch_to(here.where, there.where, self, *self->exceptions_));
    now->after_switch();
    return turn::without_jump(is_cancel_pending(task));
#else
    const context::departure leaving = context::leave(here.where, there.where, self, *self->exceptions_);
    return {leaving.to, leaving.from};
#endif
}

bool worker::end_turn([[maybe_unused]] landing here) noexcept {
#if FIBER_ASAN || FIBER_TSAN
    return false;  // never called: begin_turn() has done it all
#else
    auto* now = static_cast<worker*>(context::arrive(here));
    now->stack_->where.adopt_flags_of(here);
    if (now->departed_how_ != departure::none) [[unlikely]] {  // a lone worker leaves nothing behind that yields
        if (now->departed_how_ != departure::yield) {
            settle_departure(now);
        } else {
            now->departed_how_ = departure::none;
            now->push(*now->departed_task_);
        }
    }
    return is_cancel_pending(*now->task_);
#endif
}

__attribute__((noinline)) void worker::settle_departure(worker* now) noexcept { now->after_switch(); }

turn begin_turn() noexcept { return worker::begin_turn(); }
bool end_turn(landing here) noexcept { return worker::end_turn(here); }

// The stack to go on from: that of a parked fiber, or a pooled one in its loop, which gets what is in handed_.
inline fiber_stack& worker::stack_of(task_slot* next) noexcept {
    if (next != nullptr) [[likely]] {
        if (fiber_stack* parked_on = next->stack.load(std::memory_order_relaxed)) [[likely]] {
            task_ = next;
            return *parked_on;
        }
    }
    task_ = nullptr;
    handed_ = next;
    fiber_stack* spare = stacks_[default_class_];
    FIBER_ASSERT(spare != nullptr);
    stacks_[default_class_] = spare->next;
    --stack_counts_[default_class_];
    return *spare;
}

void worker::loop(void* argument) noexcept {
    auto* self = static_cast<worker*>(argument);
    fiber_stack& here = *self->stack_;
    self->after_switch();
    for (;;) {
        task_slot* next = std::exchange(self->handed_, nullptr);
        if (next == nullptr) next = self->take();
        if (next == nullptr) next = self->find_work();
        fiber_stack* to = nullptr;
        if (next == nullptr) {
            self->departed_how_ = departure::release_stack;
            self->departed_stack_ = &here;
            self = static_cast<worker*>(switch_to(here.where, self->thread_context_, self, *self->exceptions_));
            self->after_switch();
            continue;
        }
        if (fiber_stack* parked_on = next->stack.load(std::memory_order_relaxed)) {
            to = parked_on;
            self->task_ = next;
        } else if (worker* after_failure = self->ensure_spare_stack(*next)) {
            self = after_failure;
            continue;
        } else if (next->stack_size_class != here.size_class) {
            to = self->acquire_stack(next->stack_size_class);  // cannot fail: ensure_spare_stack() saw to it
            self->handed_ = next;
        }
        if (to == nullptr) {
            self->start_fresh(*next);
            self = end(*next, nullptr);
        } else {
            self->departed_how_ = departure::release_stack;
            self->departed_stack_ = &here;
            self->stack_ = to;
            self = static_cast<worker*>(switch_to(here.where, to->where, self, *self->exceptions_));
            self->after_switch();
        }
    }
}

// --- running a task ---

inline void worker::start_fresh(task_slot& task) noexcept {
    task_ = &task;
    call(task);
}

inline void worker::call(task_slot& task) noexcept {
    if (task.is(task_slot::cancel_pending)) {
        task.operations->drop(task);  // cancelled before its start: the body never runs
    } else {
        task.operations->run(task);
    }
    if (task.locals != nullptr || task.context != nullptr) [[unlikely]]
        release_attachments(task);  // while the task is still the current one
}

// Their destructors are the user's: they may wait, may not be interrupted, and may use what is being released.
__attribute__((noinline)) void worker::release_attachments(task_slot& task) noexcept {
    ++task.uncancellable_depth;
    while (task.locals != nullptr) release_attachment(task.locals);
    while (task.context != nullptr) release_attachment(task.context);
    --task.uncancellable_depth;
}

// The end of the current task, after which `next` is the current one. As long as the task ends it is the current one:
// the result that nobody holds any more is destroyed here, and its destructor is the user's. It may wait, and the
// worker afterwards is the one that is returned.
inline worker* worker::end(task_slot& task, task_slot* next) noexcept {
    finish(task);
    worker* self = current();
    self->task_ = next;
    self->count_finished();
    return self;
}

inline void worker::count_finished() noexcept {
    finished_.store(finished_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

bool worker::run_out_of_turn(task_slot& task, interruptible mode) noexcept {
    const auto* frame = static_cast<const std::byte*>(__builtin_frame_address(0));
    const auto left = static_cast<std::size_t>(frame - stack_->bounds.limit);
    if (left < promised_size(task.stack_size_class)) return false;  // deep down the parent parks as usual
    const claim how = take_out_of_queue(task);
    if (how == claim::none) return false;

    // The child has its own identity: current task, exceptions in flight, and the parent's place in a chain of
    // cancellations.
    task_slot* parent = task_;
    const exception_globals in_flight = *exceptions_;
    const bool forwards = mode == interruptible::yes && parent->uncancellable_depth == 0 && in_flight.uncaught == 0;
    if (forwards) parent->awaiting.store(reinterpret_cast<std::uintptr_t>(&task), std::memory_order_release);
    if (how == claim::removed) {
        task.queue_next = forwards ? parent : nullptr;  // for mark_started_out_of_turn(), if it ever parks
    } else if (forwards) {
        announce_wait(*parent, task);
    }
    if (in_flight.caught != nullptr || in_flight.uncaught != 0) [[unlikely]]
        *exceptions_ = {};
    task_ = &task;
    call(task);
    worker* self = end(task, parent);
    if (in_flight.caught != nullptr || in_flight.uncaught != 0) [[unlikely]]
        *self->exceptions_ = in_flight;
    if (forwards) parent->awaiting.store(0, std::memory_order_release);
    return true;
}

// --- slots ---

task_slot& worker::take_slot(std::uint8_t size_class) {
    task_slot* slot = slots_.take(size_class);
    return slot != nullptr ? *slot : scheduler_.tasks().refill(slots_, size_class);
}

void worker::put_slot(task_slot& slot) noexcept {
    slots_.put(slot);
    if (slots_.free[slot.slot_size_class].count > task_pool::cache_limit) [[unlikely]] {
        scheduler_.tasks().spill(slots_, slot.slot_size_class);
    }
}

// --- stacks ---

fiber_stack* worker::acquire_stack(stack_class size) {
    fiber_stack* pooled = stacks_[size];
    if (pooled == nullptr) return fiber_stack::acquire(scheduler_.stacks(), size, &worker::loop);
    stacks_[size] = pooled->next;
    --stack_counts_[size];
    return pooled;
}

inline void worker::release_stack(fiber_stack* stack) noexcept {
    const stack_class size = stack->size_class;
    if (stack_counts_[size] >= pooled_stacks) [[unlikely]]
        give_back_stacks(size, pooled_stacks / 2);
    stack->next = stacks_[size];
    stacks_[size] = stack;
    ++stack_counts_[size];
}

// Many at once: the arena's lock is everybody's (bench yield_many, two workers). Those released longest ago stand last
// in the pool, and go first.
__attribute__((noinline)) void worker::give_back_stacks(stack_class size, std::size_t count) noexcept {
    std::array<stack_view, pooled_stacks> whole;
    fiber_stack** first = &stacks_[size];
    for (std::size_t kept = stack_counts_[size] - count; kept > 0; --kept) first = &(*first)->next;
    fiber_stack* given = std::exchange(*first, nullptr);
    for (std::size_t i = 0; i < count; ++i) whole[count - 1 - i] = std::exchange(given, given->next)->discard();
    scheduler_.stacks().release({whole.data(), count}, size);
    stack_counts_[size] -= static_cast<std::uint32_t>(count);
}

void worker::release_all_stacks() noexcept {
    if (reserve_ != nullptr) release_stack(std::exchange(reserve_, nullptr));
    for (stack_class size = 0; size < stack_class_count; ++size) give_back_stacks(size, stack_counts_[size]);
}

// Before a fresh task starts: when it parks, another stack must be there. A task for which none can be had fails;
// returned is then the worker that goes on, else nullptr.
inline worker* worker::ensure_spare_stack(task_slot& task) noexcept {
    const bool same_class = task.stack_size_class == stack_->size_class;
    if (stacks_[default_class_] != nullptr && (same_class || stacks_[task.stack_size_class] != nullptr)) [[likely]] {
        return nullptr;
    }
    try {
        if (stacks_[default_class_] == nullptr) {
            release_stack(fiber_stack::acquire(scheduler_.stacks(), default_class_, &worker::loop));
        }
        if (!same_class && stacks_[task.stack_size_class] == nullptr) {
            release_stack(fiber_stack::acquire(scheduler_.stacks(), task.stack_size_class, &worker::loop));
        }
    } catch (const std::exception& error) {
        return fail_to_start(task, error.what());
    }
    if (reserve_ == nullptr) make_reserve();
    return nullptr;
}

void worker::make_reserve() noexcept {
    try {
        reserve_ = fiber_stack::acquire(scheduler_.stacks(), default_class_, &worker::loop);
    } catch (const std::bad_alloc&) {
        // The next task that needs a fresh stack asks again.
    }
}

// What its callable holds may wait as it is destroyed: so it ends as a task, with the reserve as its spare stack. While
// that is lent, others that fail wait for another turn, as if they had not been taken: in the own queue of a lone worker,
// where what waits for them can claim them, else where all workers look. Returns the worker that goes on.
__attribute__((noinline)) worker* worker::fail_to_start(task_slot& task, const char* why) noexcept {
    if (stacks_[default_class_] == nullptr && reserve_ == nullptr) {
        task.state.fetch_xor(task_slot::started | task_slot::queued, std::memory_order_acq_rel);
        alone_ ? push(task) : scheduler_.inject(task);
        return this;
    }
    if (stacks_[default_class_] == nullptr) release_stack(std::exchange(reserve_, nullptr));
    task_ = &task;
    task.operations->fail(task, why);
    worker* self = end(task, nullptr);
    self->keep_reserve();
    return self;
}

void worker::keep_reserve() noexcept {
    if (reserve_ != nullptr || stacks_[default_class_] == nullptr) return;
    reserve_ = stacks_[default_class_];
    stacks_[default_class_] = reserve_->next;
    --stack_counts_[default_class_];
}

// --- provided for the rooms below ---

void make_runnable(task_slot& task) noexcept {
    worker* here = worker::current();
    if (here != nullptr && &here->home().tasks() == task.pool) {
        here->push_woken(task);
    } else {
        task.pool->home().inject(task);
    }
}

task_slot* reuse_promise(std::uint8_t size_class) noexcept {
    worker* here = worker::current();
    return here != nullptr ? here->promises().take(size_class) : nullptr;
}

void recycle(task_slot& slot) noexcept {
    worker* here = worker::current();
    if (slot.pool == nullptr) {
        const bool keep = here != nullptr && slot.slot_size_class != heap_slot &&
                          here->promises().free[slot.slot_size_class].count < most_spare_promises;
        return keep ? here->promises().put(slot) : free_promise(slot);
    }
    if (here != nullptr && &here->home().tasks() == slot.pool) [[likely]] {
        slot.retire();
        here->put_slot(slot);
    } else {
        slot.pool->put(slot);
    }
}

}  // namespace fiber::engine
