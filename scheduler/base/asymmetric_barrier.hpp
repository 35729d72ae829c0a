// A full barrier between two threads for which only the one that comes rarely pays: each stores, then loads what the
// other has stored, and at least one of them must see the other (Dekker). The frequent side says light() between its
// store and its load, which costs no instruction; the rare side says heavy(), a system call by which every running
// thread of the process passes a full barrier (membarrier(2), Linux 4.14; the idea: Dice, Huang and Yang 2001).
// Where the kernel has it not, light() is a fence, as it would be without all this.
//
// Any thread. Neither of the two orders accesses for the C++ memory model: what is published is published by release
// and acquire as ever.
#pragma once

#include <atomic>

namespace fiber::engine {

class asymmetric_barrier {
 public:
    // Before the first light() that matters, and while nobody relies on it.
    static void prepare() noexcept;

    [[gnu::always_inline]] static void light() noexcept {
        if (kernel_helps_.load(std::memory_order_relaxed)) [[likely]] {
            std::atomic_signal_fence(std::memory_order_seq_cst);  // the compiler keeps the order, too
        } else {
            fence();
        }
    }

    // Some microseconds if other threads of the process are running just now.
    static void heavy() noexcept;

    // Does light() cost nothing here?
    static bool kernel_helps() noexcept { return kernel_helps_.load(std::memory_order_relaxed); }

 private:
    static void fence() noexcept;

    static std::atomic<bool> kernel_helps_;
};

}  // namespace fiber::engine
