// A system call without a function around it, where the processor is known and no sanitizer wants to see the call.
// A long way through the kernel leaves the processor's return predictor empty: each return after it, libc's wrapper
// first, is mispredicted, and costs more than the instructions that it ends (bench echo_100).
// Nothing here touches errno, so a caller may be inlined into a function that waits.
#pragma once

#include "scheduler/base/sanitizers.hpp"

#if (defined(__x86_64__) && !defined(__ILP32__) || defined(__aarch64__)) && !FIBER_ASAN && !FIBER_TSAN
#define FIBER_INLINE_SYSTEM_CALL 1
#else
#define FIBER_INLINE_SYSTEM_CALL 0
#endif

#if FIBER_INLINE_SYSTEM_CALL

namespace fiber::engine {

// The result, or -errno. Never more than once, also when it says EINTR.
[[gnu::always_inline]] inline long system_call(long number, long a, long b, long c, long d, long e, long f) noexcept {
#if defined(__x86_64__)
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory", "cc");
    return result;
#else
    register long x8 asm("x8") = number;
    register long x0 asm("x0") = a;
    register long x1 asm("x1") = b;
    register long x2 asm("x2") = c;
    register long x3 asm("x3") = d;
    register long x4 asm("x4") = e;
    register long x5 asm("x5") = f;
    asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
    return x0;
#endif
}

}  // namespace fiber::engine

#endif
