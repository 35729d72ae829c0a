// A suspended execution, and the switch from one to the next. context.cpp is the only place that includes
// Boost.Context.
//
// Thread safety: none. A context belongs to whoever is about to switch to it; handing it to another thread needs an
// order established elsewhere (a queue, a lock), and may happen only after the switch away from it has returned on the
// other side: until then its stack is still in use.
// Invariants: while suspended, sp_ is the saved stack pointer and globals_ the exception globals of that execution;
// while it runs, both are meaningless. An execution is not tied to one context object: it is saved wherever `from`
// says.
//
// What a switch keeps per execution: callee-saved registers, exception globals (caught stack, uncaught count); on
// x86-64 also the control bits of MXCSR and the x87 control word. The sticky floating-point flags only ever accumulate:
// a flag an execution has raised stays set for it, but it may also see flags that others raised (see
// carry_sticky_flags). On AArch64 FPCR and FPSR are not switched at all: rounding mode and flags stay with the thread,
// and there is no trap to avoid. Thread-locals, the signal mask and errno are the thread's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "scheduler/base/check.hpp"
#include "scheduler/context/stack.hpp"

namespace fiber::engine {

// Layout of the C++ ABI's __cxa_eh_globals (Itanium C++ ABI, 2.2.2).
struct __attribute__((__may_alias__)) exception_globals {
    void* caught = nullptr;
    unsigned int uncaught = 0;
};

// Any thread. The calling thread's own; valid as long as the thread lives. To be cached per worker thread.
exception_globals* thread_exception_globals() noexcept;

class context {
 public:
    // Must never return: it ends by a last switch to somebody who discards it.
    using entry = void (*)(void* argument) noexcept;

    // A place to save the running execution in: pass it as `from`.
    context() noexcept = default;
    context(const context&) = delete;
    context& operator=(const context&) = delete;

    // A fresh execution on the stack `where`, suspended before `start`, which gets the argument of the first switch to
    // it. Its exception globals are empty, its floating-point control is the caller's. Requires: nothing suspended in
    // *this (discard() first), nothing else running on `where`.
    void make(const stack_view& where, entry start) noexcept;

    // Gives up what is suspended here; its frames must need no destructors. The stack may be reused or unmapped.
    // Requires: made or saved by a fiber; not a thread's own stack.
    void discard() noexcept;

    // Saves the caller in `from`, resumes `to` with `argument`. Returns what whoever resumes `from` hands over,
    // possibly on another thread. `live` = the calling thread's exception globals. Requires: something suspended in
    // `to`; &from != &to.
    friend void* switch_to(context& from, context& to, void* argument, exception_globals& live) noexcept;

 private:
    struct landing;
    struct frame_probe;

#if defined(__x86_64__)
    // The MXCSR bits a switch carries over: the sticky flags, or none when jump_fcontext's frame is not the one we
    // know. Set during static initialisation; zero before, which is harmless.
    static const std::uint32_t carried_flags_;
#endif
    void* sp_ = nullptr;  // between leaving and arriving: the argument on its way
    exception_globals globals_;
#if FIBER_ASAN
    void* fake_stack_ = nullptr;
    const void* bottom_ = nullptr;
    std::size_t size_ = 0;
#endif
#if FIBER_TSAN
    void* tsan_fiber_ = nullptr;
#endif
};

void* switch_to(context& from, context& to, void* argument, exception_globals& live) noexcept;

}  // namespace fiber::engine
