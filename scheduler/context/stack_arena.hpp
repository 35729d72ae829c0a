// All stacks of one scheduler: mapped in slabs, guarded, reused warm, given back when idle.
// Owner: the scheduler; workers keep a few stacks of their own, so this is never on the hot path.
// Thread safety: any thread may call everything but the destructor; one mutex guards all. System calls that take long
// (giving memory back) are made outside of it.
// Invariants: a stack is in use, or idle (warm or cold), or not yet handed out; its slab stays mapped until the end.
// The idle lists have room for every mapped stack, so release() never allocates.
//
// A slab is one mapping of many stacks of one class, side by side, each  [guard page | head-room | promised bytes],
// growing down towards its guard. Strides are as narrow as the head-room allows: page tables cost 4 KiB per 2 MiB.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <span>
#include <vector>

#include "scheduler/context/stack.hpp"
#include "scheduler/context/stack_memory.hpp"

namespace fiber::engine {

// A fault on overflow, or at least a trace of it. `automatic` takes the first that the system grants, per slab.
//   lightweight  a page that faults and splits no mapping (Linux 6.13): a million stacks stay a handful of mappings
//   protection   a page without access; two more mappings for each stack, while vm.max_map_count leaves a reserve
//   canary       no fault: a pattern below the stack, see canary_intact(); touches one more page of each stack
enum class stack_guard : std::uint8_t { automatic, lightweight, protection, canary };

// Thrown when no stack can be had; nothing was leaked, and every other stack is untouched.
class stack_exhausted : public std::bad_alloc {
 public:
    explicit stack_exhausted(acquire_verdict why, stack_class which) noexcept;

    const char* what() const noexcept override { return text_.data(); }
    acquire_verdict why() const noexcept { return why_; }

 private:
    std::array<char, 160> text_{};
    acquire_verdict why_;
};

struct stack_statistics {
    std::size_t in_use = 0;
    std::size_t idle = 0;          // released and not acquired again
    std::size_t unguarded = 0;     // handed out so far with a canary only
    std::size_t mapped_bytes = 0;  // address space, not memory
};

class stack_arena {
 public:
    explicit stack_arena(stack_guard guard = stack_guard::automatic) noexcept;
    // Requires: no stack in use.
    ~stack_arena();
    stack_arena(const stack_arena&) = delete;
    stack_arena& operator=(const stack_arena&) = delete;

    // The stack last released of this class, else a new one; its contents are arbitrary. At least promised_size(which)
    // bytes, usually about a quarter more. Throws stack_exhausted.
    stack_view acquire(stack_class which);

    // The same without an exception; `stack` is set only when acquired.
    [[nodiscard]] acquire_verdict try_acquire(stack_class which, stack_view& stack) noexcept;

    // Requires: acquired here with this class; nothing runs or is suspended on them. One without a guard page that was
    // overrun ends the program with a message: what lies next to it is damaged. The last one is the first to be
    // acquired again.
    void release(std::span<const stack_view> stacks, stack_class which) noexcept;
    void release(const stack_view& stack, stack_class which) noexcept { release({&stack, 1}, which); }

    // For whoever trims now and then, a little at a time: what nobody needed for a whole period is not needed.
    // Are there idle stacks beyond `keep` of some class, with memory?
    bool has_spare(std::size_t keep) const noexcept;
    // A period begins: later acquisitions are counted against what is idle now.
    void begin_period() noexcept;
    // Gives back the memory of some stacks, at most 256, that lay idle all through the period, but for `keep` of their
    // class. Returns whether there may be more.
    bool trim_unused(std::size_t keep) noexcept;

    // False when a stack without a guard page was overrun. True at once where all stacks have one.
    bool canary_intact(const stack_view& stack, stack_class which) const noexcept;

    stack_statistics statistics() const noexcept;

 private:
    struct slab {
        std::byte* first;
        std::uint32_t count;
        std::uint32_t handed_out = 0;  // in order of addresses, once each; later through the idle lists
        std::uint32_t prepared = 0;    // guards tried so far; >= handed_out
        std::uint32_t guarded = 0;     // of these; all later ones have a canary
        stack_guard guard;
    };

    struct shelf {                      // the stacks of one class
        std::vector<slab> slabs;        // only the last one may have stacks not handed out
        std::vector<std::byte*> warm;   // bases; the most recently released at the back
        std::vector<std::byte*> cold;   // bases of trimmed stacks
        std::size_t stacks = 0;         // mapped
        std::size_t being_trimmed = 0;  // in neither list meanwhile
        std::size_t least_warm = 0;     // since the period began
    };

    acquire_verdict add_slab_locked(shelf& into, stack_class which) noexcept;
    stack_view hand_out_locked(slab& from, stack_class which) noexcept;
    void prepare_locked(slab& which_slab, stack_class which) noexcept;
    std::size_t give_back_coldest(stack_class which, std::size_t count, std::unique_lock<std::mutex>& hold) noexcept;
    stack_guard guard_for_new_slab(std::size_t stacks) const noexcept;

    const stack_guard guard_;
    mutable std::mutex mutex_;
    std::array<shelf, stack_class_count> shelves_;
    std::size_t in_use_ = 0;
    std::size_t mapped_bytes_ = 0;
    std::atomic<std::size_t> unguarded_{0};
};

}  // namespace fiber::engine
