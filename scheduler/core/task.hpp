// A task: a callable that was spawned, with its result. This header is what the public templates see of the engine.
//
// A task lives in a slot: this header, then a payload (result, callable) whose layout only the floor above knows. Slots
// are recycled, never unmapped while their pool lives, and carry a generation that grows with each use: a reference
// from an earlier use (a cancellation on its way down a chain of waiting tasks) fails its CAS instead of hitting a
// stranger.
//
// The state word:
//   bits  0-15  flags below
//   bits 16-31  cancelling(): how often cancel() was called, less uncancel()
//   bits 32-63  generation of the slot
//
//   flag         set by                                     meaning
//   queued       spawn; cleared by whoever takes the entry  some queue holds a pointer to the slot
//   started      worker (CAS) or a joiner out of turn       nobody else may start it
//   finished     the one who runs it                        the result stands; set once
//   runner_gone  the one who runs it                        it touches the slot no more
//   handle_gone  the handle's destructor, get(), detach()   nobody will ask for the result
//   has_observers  an observer or a cancel message, under the lock; a promise has it from the start
//                                                           finish() must take the slow path
//   cancel_pending  cancel(); cleared by delivery           to be thrown at the next cancellation point
//   detached     detach()                                   an exception nobody retrieved is reported at once
//   result_taken settle_begin()                             of a promise: the one who set it writes the result
//   retrieved    get(), exception()                         an exception in the result has been seen
//   in_use       allocate/free                              the slot holds a task
//   has_listener replace_cancel_listener(), under the lock  cancel() tells somebody at once
//   injected     the injection queue, as long as it holds the task  the entry cannot be left behind (queue_entry.hpp)
//
// The slot is free again when runner_gone and handle_gone are set and queued is not; whoever makes the last of these
// true frees it.
//
// Who touches what, when:
//   payload           the spawner until submit; the runner until finished (release) -> the handle's owner (acquire)
//   park, uncancellable_depth, awaiting (write)  the task itself, while it runs
//   stack             the worker that runs it; whoever was handed the parked task through a queue
//   observers, extras anybody, under `lock`
//   site, id          written before submit, read by introspection (relaxed atomics)
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "scheduler/base/atomic.hpp"
#include "scheduler/base/intrusive_list.hpp"
#include "scheduler/base/spin_lock.hpp"
#include "scheduler/park/park_state.hpp"

namespace fiber::engine {

class scheduler;
class task_pool;
class observer;
struct fiber_stack;
struct task_slot;

// Slots come in a few sizes: bytes behind the header. What is larger, the floor above puts on the heap.
inline constexpr std::size_t slot_payloads[] = {64, 128, 256, 512, 1024};
inline constexpr std::uint8_t slot_class_count = 5;
inline constexpr std::size_t largest_payload = slot_payloads[slot_class_count - 1];
inline constexpr std::uint8_t heap_slot = 0xff;  // slot_size_class of a slot that belongs to no pool

// Requires: payload <= largest_payload.
constexpr std::uint8_t slot_class_for(std::size_t payload) noexcept {
    std::uint8_t c = 0;
    while (slot_payloads[c] < payload) ++c;
    return c;
}

// Where in the program a task was spawned. Filled in by the compiler at the call.
struct call_site {
    const char* file = nullptr;
    std::uint32_t line = 0;

    static constexpr call_site current(const char* file = __builtin_FILE(),
                                       std::uint32_t line = __builtin_LINE()) noexcept {
        return {file, line};
    }
};

// What the floor above knows how to do with a payload. None of these throws.
struct task_operations {
    void (*run)(task_slot&) noexcept;   // calls the callable, stores its result, destroys the callable
    void (*drop)(task_slot&) noexcept;  // destroys a callable that was never run; the result becomes a cancellation
    void (*fail)(task_slot&,
                 const char* why) noexcept;             // the same, the result becomes an error (no stack could be had)
    void (*override_with_cancel)(task_slot&) noexcept;  // a cancellation nobody saw replaces the result
    void (*destroy)(task_slot&) noexcept;  // destroys the result; reports an exception that nobody retrieved
    // Of a promise `run` is nullptr, and drop() settles it as cancelled.
};

// Something of the floor above that ends with the task. Owned by the task; a context is shared with the tasks that it
// spawns.
struct task_attachment {
    void (*release)(task_attachment*) noexcept;          // one owner less
    void (*share)(task_attachment*) noexcept = nullptr;  // one owner more; contexts only
};

// A cancellation that goes through the children of a forwarder, one by one.
struct forward_visit : list_node {
    explicit forward_visit(const void* whose) noexcept : walk(whose) {}
    const void* const walk;
};

// What stands in the frame of a task that waits for several, or for a promise, which may vanish: a cancellation goes
// from that task to each of the children.
struct cancel_forwarder {
    task_slot* const* children;
    std::size_t count;
    // Both under the waiting task's lock. A cancellation comes through. And behind the last child, if one of them waits
    // for this task in turn: the wait has to end by the cancellation that is delivered to it next.
    void (*passes)(cancel_forwarder&, const char* message) noexcept;
    void (*comes_back)(cancel_forwarder&) noexcept;
    intrusive_list<forward_visit> visits{};  // under that lock
};

struct task_slot {
    static constexpr std::uint64_t queued = 1 << 0;
    static constexpr std::uint64_t started = 1 << 1;
    static constexpr std::uint64_t finished = 1 << 2;
    static constexpr std::uint64_t runner_gone = 1 << 3;
    static constexpr std::uint64_t handle_gone = 1 << 4;
    static constexpr std::uint64_t has_observers = 1 << 5;
    static constexpr std::uint64_t cancel_pending = 1 << 6;
    static constexpr std::uint64_t detached = 1 << 7;
    static constexpr std::uint64_t in_use = 1 << 8;
    static constexpr std::uint64_t swept = 1 << 9;           // shutdown has cancelled it
    static constexpr std::uint64_t was_cancelled = 1 << 10;  // ended as cancelled; written with `finished`
    static constexpr std::uint64_t result_taken = 1 << 11;
    static constexpr std::uint64_t retrieved = 1 << 12;
    static constexpr std::uint64_t failed =
        1 << 13;  // ended with an exception that is no cancellation; written with `finished`
    static constexpr std::uint64_t has_listener = 1 << 14;
    static constexpr std::uint64_t injected = 1 << 15;
    static constexpr std::uint64_t cancel_one = 1 << 16;
    static constexpr std::uint64_t cancel_mask = std::uint64_t{0xffff} << 16;
    static constexpr std::uint64_t generation_one = std::uint64_t{1} << 32;
    static constexpr std::uint64_t generation_mask = ~(generation_one - 1);

    // One cache line for what spawn, start, park, finish and join touch.
    alignas(cache_line) atomic<std::uint64_t> state{0};
    const task_operations* operations = nullptr;
    park_state park;
    atomic<std::uintptr_t> awaiting{0};        // a task_slot*, or a cancel_forwarder* with bit 0 set, or 0
    std::atomic<fiber_stack*> stack{nullptr};  // where it is parked; others look to prefetch it
    task_pool* pool = nullptr;  // where the slot goes back to, and whose scheduler runs it; nullptr: the heap
    // Link in the injection queue, a batch, or the free list. Of a task that a joiner took out of its queue, until it
    // first parks: the joiner, if that passes its cancellation on.
    task_slot* queue_next = nullptr;
    std::uint8_t stack_size_class = 0;
    std::uint8_t slot_size_class = 0;
    std::uint16_t uncancellable_depth = 0;
    bool ends_cancelled = false;  // set by run/drop/fail, folded into the state at finish
    bool ends_failed = false;     // the same

    // The second line: what introspection and the slow paths touch.
    alignas(cache_line) std::atomic<const char*> site_file{nullptr};
    std::atomic<std::uint32_t> site_line{0};
    spin_lock lock;
    std::atomic<std::uint64_t> id{0};
    struct task_extras* extras = nullptr;  // name, cancel message; under `lock`
    task_attachment* context = nullptr;    // snapshot of the context variables; the spawner, then the task itself
    task_attachment* locals = nullptr;     // fiber-local values; the task itself
    intrusive_list<observer> observers;    // whom finish() tells; under `lock`

    void* payload() noexcept { return this + 1; }

    // Ends this use of the slot: references from it become stale.
    void retire() noexcept {
        const std::uint64_t seen = state.load(std::memory_order_relaxed);
        state.store((seen & generation_mask) + generation_one, std::memory_order_release);
    }

    bool is(std::uint64_t flags) const noexcept { return state.load(std::memory_order_acquire) & flags; }
    std::uint32_t generation() const noexcept {
        return static_cast<std::uint32_t>(state.load(std::memory_order_acquire) >> 32);
    }
};

static_assert(sizeof(task_slot) == 2 * cache_line);

// --- provided by the worker, for the rooms below it ---

// A parked task that was claimed and completed goes into its scheduler's queue. Any thread.
void make_runnable(task_slot& task) noexcept;
// The slot of a task or promise that is over goes back to where such slots come from. Any thread.
void recycle(task_slot& slot) noexcept;
// The slot of a promise that is over, to be used again; nullptr: there is none at hand. Any thread.
task_slot* reuse_promise(std::uint8_t size_class) noexcept;

}  // namespace fiber::engine
