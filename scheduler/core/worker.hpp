// A worker: an OS thread that runs tasks and fibers, one after the other.
//
// Every stack runs, at its base, the worker's loop: take the next runnable; if it is a fresh task, call it right here;
// if it is a parked fiber, lend it this place. A task that never parks costs no switch and no stack of its own. When a
// task parks, the stack has become its fiber's, and the worker goes on from another: straight into the next fiber, or
// in the loop of a pooled stack.
//
// Thread safety: a worker's members belong to its own thread, except where marked. A function that comes back from a
// switch may be on another thread: no worker* is held across one, and current() is never inlined, because compilers
// cache the addresses of thread-locals.
//
// Invariants:
//   * A fiber never makes itself runnable while it is on its stack: whoever runs next on this worker does that
//   (after_switch).
//   * While a task runs, the pool holds at least one stack of the default class: parking never allocates and never
//   fails.
//   * Queue order is FIFO. Except fibers whose timers have expired: these go first, and stand in a queue of their own.
//   * Whatever is runnable stands in a queue that thieves look at: nothing waits for a worker that is stuck in a
//   computation while another is idle.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "scheduler/core/fiber_stack.hpp"
#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/queue_entry.hpp"
#include "scheduler/core/scheduler.hpp"
#include "scheduler/core/task.hpp"
#include "scheduler/core/task_pool.hpp"
#include "scheduler/core/turn.hpp"
#include "scheduler/core/wait.hpp"
#include "scheduler/core/worker_shared.hpp"

namespace fiber::engine {

class alignas(cache_line) worker final : public worker_shared {
 public:
    worker(scheduler& home, unsigned index);
    ~worker() override;
    worker(const worker&) = delete;
    worker& operator=(const worker&) = delete;

    // The calling thread's worker; nullptr on a plain thread. Never held across anything that may park.
    static worker* current() noexcept;

    // Gets the first stack and the reserve. Throws stack_exhausted. Any thread, before run().
    void prepare();
    // Runs tasks on the calling thread until the scheduler has finished.
    void run() noexcept;

    // --- On this worker's thread ---

    // Unique in the runtime: the worker's index in the low 16 bits.
    std::uint64_t next_task_id() noexcept { return (++next_id_ << 16) | (index_ + 1); }

    task_slot* current_task() const noexcept { return task_; }
    scheduler& home() const noexcept { return scheduler_; }
    // The one that it left last: on its way from there the worker has the next one as its current task already.
    task_slot* departed_task() const noexcept { return departed_task_; }
    const stack_view& stack_bounds() const noexcept { return stack_->bounds; }
    void*& innermost_scope() const noexcept { return stack_->innermost_scope; }  // a task keeps its stack
    exception_globals& exceptions() const noexcept { return *exceptions_; }
    stack_class default_class() const noexcept { return default_class_; }

    // May the running task be interrupted now: not in an uncancellable scope, not while its stack unwinds?
    bool may_be_interrupted(const task_slot& self) const noexcept {
        return self.uncancellable_depth == 0 && exceptions_->uncaught == 0;
    }

    // A free slot with the payload room of `size_class`. Throws std::bad_alloc.
    task_slot& take_slot(std::uint8_t size_class);
    void put_slot(task_slot& slot) noexcept;
    // The slots of promises that ended on this worker, for the next ones (bench pingpong_future).
    task_cache& promises() noexcept { return promises_; }

    void push_fresh(task_slot& task) noexcept;  // a task that was just spawned
    void push_woken(task_slot& task) noexcept;  // a parked fiber that became runnable

    // Join by claim: takes a fresh task out of the queues and calls it on the running task's stack. false: it could not
    // be had or there is too little stack left, and nothing has happened.
    // While it lasts, a cancellation of the caller goes to the child, if `mode` lets it.
    bool run_out_of_turn(task_slot& task, interruptible mode) noexcept;

    // Parks the running task, whose park state has an open wait. Returns when it was made runnable and its turn came.
    static void park() noexcept;

    // Nothing runs on this worker while call() does: what waits in there blocks the thread. The running task only.
    template <class Call>
    void stand_aside(Call call) noexcept {
        task_slot* task = std::exchange(task_, nullptr);
        call();
        task_ = task;
    }

    // One turn through the queue, see turn.hpp.
    static turn begin_turn() noexcept;
    static bool end_turn(landing here) noexcept;

    timer_queue& timers() noexcept { return timers_; }
    void arm(timer& node, nanos deadline) noexcept;

 private:
    enum class departure : std::uint8_t { none, park, yield, release_stack };

    // --- worker.cpp: the loop and the switch ---
    [[noreturn]] static void loop(void* argument) noexcept;
    fiber_stack& turn_to(task_slot* next) noexcept;
    void after_switch() noexcept;
    static void settle_departure(worker* now) noexcept;
    fiber_stack& stack_of(task_slot* next) noexcept;
    void start_fresh(task_slot& task) noexcept;
    void call(task_slot& task) noexcept;
    static void release_attachments(task_slot& task) noexcept;
    static worker* end(task_slot& task, task_slot* next) noexcept;
    void count_finished() noexcept;
    fiber_stack* acquire_stack(stack_class size);
    worker* ensure_spare_stack(task_slot& task) noexcept;
    worker* fail_to_start(task_slot& task, const char* why) noexcept;
    void make_reserve() noexcept;
    void keep_reserve() noexcept;
    void release_stack(fiber_stack* stack) noexcept;
    void give_back_stacks(stack_class size, std::size_t count) noexcept;
    void release_all_stacks() noexcept;

    // --- worker_search.cpp: where the next runnable comes from ---
    task_slot* take() noexcept;
    task_slot* take_in_exchange(task_slot& yielding) noexcept;
    task_slot* take_in_turn(task_slot& yielding) noexcept;
    task_slot* take_among_others(task_slot& yielding) noexcept;
    task_slot* accept_or_take(task_slot* entry) noexcept;
    void prefetch_next() noexcept;
    static void prefetch_stack(const task_slot& task) noexcept;
    task_slot* accept(task_slot* entry) noexcept;
    task_slot* take_expired() noexcept;
    void push(task_slot& task) noexcept;
    void push_expired(task_slot& task) noexcept;
    template <class Expire>
    void expire(Expire due) noexcept;
    void beat() noexcept;
    void even_out() noexcept;
    bool poll() noexcept;
    void poll_io() noexcept;
    bool poll_all() noexcept;
    void take_in_injected() noexcept;
    enum class claim : std::uint8_t { none, removed, entry_left };
    claim take_out_of_queue(task_slot& task) noexcept;
    task_slot* find_work() noexcept;
    task_slot* search(int rounds) noexcept;
    task_slot* steal_from(worker_shared& victim) noexcept;
    static task_slot* steal_half(task_queue& from, task_queue& into, bool stuck) noexcept;
    bool wait_for_work(bool searching) noexcept;
    void stop_searching() noexcept;
    void nap() noexcept;

    // What a thief remembers of a victim's last look: how fast it comes to its entries.
    struct sighting {
        std::uint64_t submitted = 0;
        std::uint32_t turn = 0;
        std::size_t size = 0;
    };

    scheduler& scheduler_;
    const bool alone_;  // one worker: no thief can exist
    const stack_class default_class_;
    std::uint32_t beat_in_ = 0;
    std::uint32_t beats_ = 0;
    departure departed_how_ = departure::none;
    task_slot* departed_task_ = nullptr;
    fiber_stack* departed_stack_ = nullptr;
    task_slot* task_ = nullptr;
    fiber_stack* stack_ = nullptr;
    bool expiring_ = false;        // timers are being expired: what they wake goes first
    bool some_expired_ = false;    // expired_ is worth a look; false only when it is empty
    task_slot* handed_ = nullptr;  // a runnable that was taken for the loop to run first
    exception_globals* exceptions_ = nullptr;
    std::array<fiber_stack*, stack_class_count> stacks_{};
    std::array<std::uint32_t, stack_class_count> stack_counts_{};
    fiber_stack* reserve_ = nullptr;  // the spare stack of a task for which none can be had; nullptr: lent to one
    task_cache slots_;
    task_cache promises_;
    std::uint64_t next_id_ = 0;
    std::uint32_t random_;
    context thread_context_;
    std::unique_ptr<sighting[]> sightings_;
    bool crumbs_ = false;  // the last round of a search has seen others at work
};

// --- the fast half of the queue: what every spawn, switch and wake runs through ---

// What is touched first of a parked fiber's stack, or of a fresh task's payload.
inline void worker::prefetch_stack(const task_slot& task) noexcept {
    const auto* header = reinterpret_cast<const std::byte*>(task.stack.load(std::memory_order_relaxed));
    if (header == nullptr) return __builtin_prefetch(&task + 1);
    for (int line = 0; line < 6; ++line) __builtin_prefetch(header - line * static_cast<int>(cache_line));
}

inline task_slot* worker::take() noexcept {
    if (!alone_) turn_.store(turn_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // for thieves
    if (beat_in_-- == 0) [[unlikely]]
        beat();
    task_slot* entry = some_expired_ ? take_expired() : nullptr;
    while (entry != nullptr || (entry = deque_.take()) != nullptr) {
        if (task_slot* task = accept(entry)) {
            prefetch_next();
            return task;
        }
        entry = nullptr;
    }
    return nullptr;
}

// A lone worker's turn: the task that yields goes to the end of the queue, the oldest runnable comes out; the task
// itself if there is no other. Whatever is not the usual case is out of line (bench yield).
inline task_slot* worker::take_in_exchange(task_slot& yielding) noexcept {
    if (some_expired_ || beat_in_ == 0) [[unlikely]]
        return take_in_turn(yielding);
    task_slot* entry = deque_.exchange_top(&yielding);
    if (entry == nullptr) [[unlikely]]
        return take_in_turn(yielding);
    --beat_in_;
    if (!is_woken_fiber(entry->state.load(std::memory_order_acquire))) [[unlikely]]
        return accept_or_take(entry);
    prefetch_next();
    return entry;
}

// With thousands of fibers each turn would wait for three cache misses in a row: slot, stack header, saved frame. They
// are fetched turns ahead (bench yield_many). A short queue is in the cache anyway.
inline void worker::prefetch_next() noexcept {
    const task_slot* far = deque_.peek(6);
    if (far == nullptr) return;
    __builtin_prefetch(&far->state);
    if (const task_slot* near = deque_.peek(3)) prefetch_stack(*near);
}

// Turns a queue's entry into something to run: claims a fresh task, lets a woken one pass, drops an entry whose task
// was claimed by a joiner elsewhere.
inline task_slot* worker::accept(task_slot* entry) noexcept {
    std::uint64_t now = 0;
    if (accept_entry(entry->state, now) == entry_verdict::run) [[likely]]
        return entry;
    entry_dropped(*entry, now);
    return nullptr;
}

inline void worker::push(task_slot& task) noexcept {
    try {
        deque_.push(&task);
    } catch (const std::bad_alloc&) {
        scheduler_.inject(task);  // that queue is intrusive: nothing is lost, only order
        return;
    }
    if (alone_) return;
    deque_.share();
    scheduler_.notify_one();
}

}  // namespace fiber::engine
