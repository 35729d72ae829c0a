// What an entry of a queue stands for: the part of a task's state word by which workers and joiners agree on who runs
// it.
//
// A fresh task has one entry. A joiner who cannot take that out of its queue claims the task by its state alone; the
// entry stays behind, and `queued` says so. When the claimed task parks and is woken, it has two entries. Nobody can
// tell them apart, and nobody needs to: whoever clears `queued` drops his, the other one runs the task.
//
// Invariant: a task that waits for its turn has one entry more than `queued` accounts for.
//
// Orders, by pair:
//   P1  accept_entry: RMW that clears `queued`  ->  accept_entry: acquire load or RMW. Whoever runs the task in place
//       of the entry that was dropped sees what was published with that one: the place where the fiber is parked.
#pragma once

#include <cstdint>

#include "scheduler/core/task.hpp"

namespace fiber::engine {

enum class entry_verdict : std::uint8_t { run, dropped };

// A fiber that was woken, with one entry: nothing is left to be agreed on.
[[nodiscard]] constexpr bool is_woken_fiber(std::uint64_t state) noexcept {
    return (state & (task_slot::started | task_slot::queued)) == task_slot::started;
}

// Says what the holder of an entry does with it; `now` is the state afterwards. A fresh task is claimed for the caller.
// Whoever took the entry out of its queue, once. Atomic: std::atomic, or a model checker's stand-in.
template <class Atomic>
[[nodiscard]] inline entry_verdict accept_entry(Atomic& state, std::uint64_t& now) noexcept {
    std::uint64_t seen = state.load(std::memory_order_acquire);  // P1
    for (;;) {
        if (is_woken_fiber(seen)) {
            now = seen;
            return entry_verdict::run;
        }
        const bool fresh = !(seen & task_slot::started);
        now = (seen | task_slot::started) & ~task_slot::queued;
        if (state.compare_exchange_weak(seen, now, std::memory_order_acq_rel, std::memory_order_acquire)) {  // P1
            return fresh ? entry_verdict::run : entry_verdict::dropped;
        }
    }
}

// A joiner claims a task whose entry is out of reach. false: somebody else has started it, or the entry stands in the
// injection queue: that queue links through the task itself, and could not hold it a second time.
template <class Atomic>
[[nodiscard]] inline bool claim_without_entry(Atomic& state) noexcept {
    std::uint64_t seen = state.load(std::memory_order_acquire);
    while (!(seen & (task_slot::started | task_slot::injected))) {
        if (state.compare_exchange_weak(seen, seen | task_slot::started, std::memory_order_acq_rel,
                                        std::memory_order_acquire)) {
            return true;
        }
    }
    return false;
}

}  // namespace fiber::engine
