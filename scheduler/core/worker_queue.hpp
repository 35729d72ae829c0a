// The fast half of a worker's queue: what every spawn, switch and wake runs through. Inline in the two files of the
// worker; nobody else includes this.
#pragma once

#include <new>

#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/scheduler.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::engine {

// FIFO: next_ is older than the deque. The exchange is needed only where a thief may take it too.
inline task_slot* worker::take_next_slot() noexcept {
    task_slot* next = next_.load(std::memory_order_relaxed);
    if (next == nullptr) return nullptr;
    if (alone_) {
        next_.store(nullptr, std::memory_order_relaxed);
        return next;
    }
    return next_.exchange(nullptr, std::memory_order_acq_rel);
}

inline task_slot* worker::take() noexcept {
    turn_.store(turn_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (beat_in_-- == 0) [[unlikely]]
        beat();
    task_slot* entry = take_next_slot();
    while (entry != nullptr || (entry = deque_.take()) != nullptr) {
        if (task_slot* task = accept(entry)) {
            if (const task_slot* after = deque_.peek_top()) __builtin_prefetch(&after->state);
            return task;
        }
        entry = nullptr;
    }
    return nullptr;
}

// Turns a queue's entry into something to run: claims a fresh task, lets a woken one pass, drops an entry whose task
// was claimed by a joiner elsewhere.
inline task_slot* worker::accept(task_slot* entry) noexcept {
    std::uint64_t seen = entry->state.load(std::memory_order_acquire);
    if ((seen & (task_slot::started | task_slot::queued)) == task_slot::started) return entry;
    while (!(seen & task_slot::started)) {
        if (entry->state.compare_exchange_weak(seen, (seen | task_slot::started) & ~task_slot::queued,
                                               std::memory_order_acq_rel, std::memory_order_acquire)) {
            return entry;
        }
    }
    drop_stale_entry(*entry);
    return nullptr;
}

inline void worker::push(task_slot& task) noexcept {
    try {
        deque_.push(&task);
    } catch (const std::bad_alloc&) {
        scheduler_.inject(task);  // that queue is intrusive: nothing is lost, only order
        return;
    }
    if (!alone_) scheduler_.notify_one();
}

}  // namespace fiber::engine
