// A suspended execution, and the switch from one to the next. context.cpp is the only place that includes
// Boost.Context.
//
// Thread safety: none. A context belongs to whoever is about to switch to it; handing it to another thread needs an
// order established elsewhere (a queue, a lock), and may happen only after the switch away from it has returned on the
// other side: until then its stack is still in use.
// Invariants: while suspended, sp_ is the saved stack pointer and globals_ the exception globals of that execution;
// while it runs, sp_ is meaningless and globals_ empty. An execution is not tied to one context object: it is saved
// wherever `from` says.
//
// What a switch keeps per execution: callee-saved registers, exception globals (caught stack, uncaught count); on
// x86-64 also the control bits of MXCSR and the x87 control word. The sticky floating-point flags only ever accumulate:
// a flag an execution has raised stays set for it, but it may also see flags that others raised (see
// adopt_sticky_flags). On AArch64 FPCR and FPSR are not switched at all: rounding mode and flags stay with the thread,
// and there is no trap to avoid. Thread-locals, the signal mask and errno are the thread's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <signal.h>

#include "scheduler/base/check.hpp"
#include "scheduler/base/sanitizers.hpp"
#include "scheduler/context/jump.hpp"
#include "scheduler/context/stack.hpp"

namespace fiber::engine {

// Layout of the C++ ABI's __cxa_eh_globals (Itanium C++ ABI, 2.2.2).
struct __attribute__((__may_alias__)) exception_globals {
    void* caught = nullptr;
    unsigned int uncaught = 0;

    bool empty() const noexcept { return (reinterpret_cast<std::uintptr_t>(caught) | uncaught) == 0; }
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

    // The same in three steps, for a jump that stands in another function: the word that jump() takes besides is the
    // address of `from`. Not under sanitizers.
    struct departure {
        void* to;
        context* from;
    };
    static departure leave(context& from, context& to, void* argument, exception_globals& live) noexcept;
    // What was handed over. The caller then finds the context in which he was saved, and calls its adopt_flags_of().
    static void* arrive(const landing& here) noexcept;
    void adopt_flags_of(const landing& here) const noexcept { adopt_sticky_flags(here.sp, sp_); }

 private:
    struct making;
    struct frame_probe;

    static void adopt_sticky_flags(const void* theirs, const void* own) noexcept;
    static void exchange_globals(context& from, context& to, exception_globals& live) noexcept;

#if defined(__x86_64__)
    // The MXCSR bits a switch carries over: the sticky flags, or none when jump_fcontext's frame is not the one we
    // know. Set during static initialisation; zero before, which is harmless.
    __attribute__((visibility("hidden"))) static const std::uint32_t carried_flags_;
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
    sigset_t signals_;  // between leaving and arriving: those that the thread has blocked
#endif
};

// Rare: an execution is suspended inside a handler, or while it unwinds.
inline void context::exchange_globals(context& from, context& to, exception_globals& live) noexcept {
    from.globals_ = live;
    live = to.globals_;
    to.globals_ = {};
}

// jump_fcontext saves MXCSR at the saved stack pointer and loads it again. A load that changes a sticky flag costs
// about 70 ns, ten times the switch (bench yield_fp). So whoever arrives adopts the flags that the one who left had and
// he has not: that costs as much once, and from then on the loads change control bits at most, which is cheap. What he
// has raised himself stays raised. Both words are in saved frames, for reading MXCSR costs as much as the rest of the
// switch (bench yield); his own frame was just left and lies in the red zone. Not instrumented by ASan, for the same
// reason.
__attribute__((no_sanitize("address"), always_inline)) inline void context::adopt_sticky_flags(
    [[maybe_unused]] const void* theirs, [[maybe_unused]] const void* own) noexcept {
#if defined(__x86_64__)
    using word [[gnu::may_alias]] = const std::uint32_t;
#if FIBER_ASAN || FIBER_TSAN
    const std::uint32_t mine = __builtin_ia32_stmxcsr();  // the frame is overwritten by what the sanitizer was told
#else
    const std::uint32_t mine = *static_cast<word*>(own);
#endif
    const std::uint32_t missing = *static_cast<word*>(theirs) & carried_flags_ & ~mine;
    if (missing != 0) [[unlikely]]
        __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | missing);
#endif
}

#if FIBER_ASAN || FIBER_TSAN
void* switch_to(context& from, context& to, void* argument, exception_globals& live) noexcept;
#else
inline context::departure context::leave(context& from, context& to, void* argument, exception_globals& live) noexcept {
    FIBER_ASSERT(to.sp_ != nullptr && &from != &to);
    // All of this thread's state is exchanged before the jump: what comes back may be on another thread.
    if (!live.empty() || !to.globals_.empty()) [[unlikely]]
        exchange_globals(from, to, live);
    from.sp_ = argument;
    return {to.sp_, &from};
}

inline void* context::arrive(const landing& here) noexcept {
    auto& left = *static_cast<context*>(here.handed);
    void* argument = left.sp_;
    left.sp_ = here.sp;
    return argument;
}

// One jump carries one word; it carries the address of the context that was left, whose sp_ (unused while its execution
// runs) carries the argument. The side that arrives takes the argument out and stores the saved stack pointer there.
inline void* switch_to(context& from, context& to, void* argument, exception_globals& live) noexcept {
    const context::departure leaving = context::leave(from, to, argument, live);
    const landing here = jump(leaving.to, leaving.from);
    from.adopt_flags_of(here);
    return context::arrive(here);
}
#endif

}  // namespace fiber::engine
