// The bare jump from one stack to another, to be inlined where it is needed: in the library's switch, and in yield(),
// which is inlined into its callers. context.cpp has the rest: how an execution begins, and Boost.Context.
//
// Why inline: jump_fcontext is called but left by an indirect jump, not by a return. The processor's return predictor
// then stands one address too deep, and every return above mispredicts, level by level. So the return address is pushed
// without a call. And each function that is called before a jump and returns behind it is left by another execution,
// perhaps to another caller: a misprediction that costs as much as the switch (bench yield). Where the jump stands in
// the outermost function, no return crosses it.
//
// Thread safety: as context.hpp. Everything else about the two executions is the caller's business.
#pragma once

namespace fiber::engine {

// What a jump brings along: the stack pointer of the execution that jumped here, and the word that it handed over. Laid
// out as Boost.Context's transfer_t.
struct landing {
    void* sp;
    void* handed;
};

// jump_fcontext, with C linkage and without a type of Boost.Context. Never called, on x86-64, but jumped to.
extern "C" landing fiber_engine_jump(void* to, void* handed) noexcept;

// Leaves the running execution for the one whose saved stack pointer is `to`; returns when somebody jumps back, perhaps
// on another thread.
__attribute__((always_inline)) inline landing jump(void* to, void* handed) noexcept {
#if defined(__x86_64__) && defined(__LP64__)
    landing back;
    // Past the red zone, which a caller without a call of its own may use. Everything that a call may change is
    // changed.
    asm volatile(
        "leaq -128(%%rsp), %%rsp\n\t"
        "leaq 1f(%%rip), %%rax\n\t"
        "pushq %%rax\n\t"
        "jmp *%[target]\n"
        "1:\n\t"
        "leaq 128(%%rsp), %%rsp"
        : "=&a"(back.sp), "=d"(back.handed), "+D"(to), "+S"(handed)
        : [target] "r"(&fiber_engine_jump)
        : "rcx", "r8", "r9", "r10", "r11", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "xmm0",
          "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
          "xmm14", "xmm15",
#if defined(__AVX512F__)
          "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27",
          "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7",
#endif
          "memory", "cc");
    return back;
#else
    return fiber_engine_jump(to, handed);
#endif
}

}  // namespace fiber::engine
