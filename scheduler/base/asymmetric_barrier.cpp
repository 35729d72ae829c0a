#include "scheduler/base/asymmetric_barrier.hpp"

#include <ctime>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace fiber::engine {

namespace {

bool kernel_does(int command) noexcept { return ::syscall(SYS_membarrier, command, 0, 0) == 0; }

bool register_process() noexcept { return kernel_does(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED); }

}  // namespace

std::atomic<bool> asymmetric_barrier::kernel_helps_{false};

// On processors with a barrier of their own for it, two of these meet as two seq_cst fences do.
__attribute__((noinline)) void asymmetric_barrier::fence() noexcept {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"  // it is no part of what publishes anything
#endif
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

// Again for each scheduler: a process may have been forked off one that had never called this. Refused where it was
// granted before, it is heavy() that takes it back, for others rely on it.
void asymmetric_barrier::prepare() noexcept {
    if (register_process()) kernel_helps_.store(true, std::memory_order_relaxed);
}

void asymmetric_barrier::heavy() noexcept {
    if (!kernel_helps()) return fence();
    if (kernel_does(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return;
    if (register_process() && kernel_does(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return;
    // A sandbox has been closed behind us. From here on everybody fences; a store that was made with a light barrier
    // before that leaves its processor within this pause.
    kernel_helps_.store(false, std::memory_order_relaxed);
    fence();
    const timespec pause{0, 100'000};
    ::nanosleep(&pause, nullptr);
    fence();
}

}  // namespace fiber::engine
