// The switch. What the raw jump of Boost.Context leaves to us: exception globals, the floating-point trap, sanitizers.
// One jump carries one word; it carries the address of the context that was left, whose sp_ (unused while its execution
// runs) carries the argument. The side that arrives takes the argument out and stores the saved stack pointer there.
#include "scheduler/context/context.hpp"

#include <boost/context/detail/fcontext.hpp>
#include <cstdint>
#include <cstdlib>
#include <cxxabi.h>

#if FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace fiber::engine {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

namespace {

#if defined(__x86_64__)
// jump_fcontext is called but left by an indirect jump, not by a return. The processor's return predictor then stands
// one address too deep, and every return above mispredicts, level by level (bench: yield). Here the jump's own return
// address is pushed without a call, and the return of this function takes the address that its call pushed: balanced,
// so that returns are predicted whenever both executions left through the same callers, as parked fibers mostly do.
__attribute__((naked, noinline)) transfer_t jump(void* /*to*/, void* /*data*/) noexcept {
    asm("leaq 1f(%rip), %rax\n\t"
        "pushq %rax\n\t"
        "jmp jump_fcontext@PLT\n"
        "1:\n\t"
        "ret");
}
#else
// On AArch64 jump_fcontext leaves by a return.
inline transfer_t jump(void* to, void* data) noexcept { return jump_fcontext(to, data); }
#endif

}  // namespace

struct context::landing {
    // jump_fcontext saves MXCSR at the saved stack pointer and loads it again. A load that changes a sticky flag costs
    // about 70 ns, ten times the switch (bench: yield_fp); so the flags now set are set in the target's saved word too,
    // and the load changes control bits at most, which is cheap. An OR, not a copy: what the target raised stays
    // raised. Not instrumented by ASan: the word lies below the frames it knows of.
    __attribute__((no_sanitize("address"))) static void carry_sticky_flags([[maybe_unused]] void* saved_sp) noexcept {
#if defined(__x86_64__)
        using word [[gnu::may_alias]] = std::uint32_t;
        word& saved = *static_cast<word*>(saved_sp);
        const std::uint32_t missing = __builtin_ia32_stmxcsr() & carried_flags_ & ~saved;
        // Rare: the flags spread once, then all have them. A predicted branch, unlike an unconditional OR, keeps the
        // chain of store, OR and load off the path.
        if (missing != 0) [[unlikely]]
            saved |= missing;
#endif
    }

    // Just before leaving for `to`. Nothing between here and the jump may call an instrumented function.
    static void depart([[maybe_unused]] context& from, [[maybe_unused]] context& to) noexcept {
#if FIBER_ASAN
        __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
#if FIBER_TSAN
        from.tsan_fiber_ = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(to.tsan_fiber_, 0);
#endif
    }

    // First thing on arrival. `fake_stack` is what the arriving execution saved when it left; returns the argument.
    // The bounds of the stack that was left come from ASan itself: it knows those of a thread's own stack, too.
    static void* arrive(const transfer_t& from, [[maybe_unused]] void* fake_stack) noexcept {
        context& left = *static_cast<context*>(from.data);
#if FIBER_ASAN
        __sanitizer_finish_switch_fiber(fake_stack, &left.bottom_, &left.size_);
#endif
        void* argument = left.sp_;
        left.sp_ = from.fctx;
        return argument;
    }

    // The bottom frame of every made execution. make() comes by once to leave the entry here, the one word that a first
    // switch has no room for. Not instrumented by ASan: until arrive() it takes this stack for the maker's.
    __attribute__((no_sanitize("address"))) static void start(transfer_t from) noexcept {
        const entry run = *static_cast<const entry*>(from.data);
        from = jump(from.fctx, nullptr);
        run(arrive(from, nullptr));
        std::abort();
    }
};

// __cxa_get_globals is declared `const`: the compiler may keep its result across a switch that ends on another thread.
// The barrier keeps that attribute from spreading to this function, also when the whole program is optimised at link
// time.
__attribute__((noinline)) exception_globals* thread_exception_globals() noexcept {
    asm volatile("" ::: "memory");
    return reinterpret_cast<exception_globals*>(abi::__cxa_get_globals());
}

void context::make(const stack_view& where, entry start) noexcept {
    FIBER_ASSERT(where.limit < where.base && reinterpret_cast<std::uintptr_t>(where.base) % 16 == 0);
    globals_ = {};
#if FIBER_ASAN
    __asan_unpoison_memory_region(where.limit, where.size());
    fake_stack_ = nullptr;
    bottom_ = where.limit;
    size_ = where.size();
#endif
    sp_ = make_fcontext(where.base, where.size(), &landing::start);
#if FIBER_TSAN
    void* maker = __tsan_get_current_fiber();
    tsan_fiber_ = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(tsan_fiber_, 0);
#endif
    sp_ = jump(sp_, &start).fctx;
#if FIBER_TSAN
    __tsan_switch_to_fiber(maker, 0);
#endif
}

#if FIBER_ASAN
namespace {

// ASan frees a fake stack (of detect_stack_use_after_return) only when its owner leaves for good. So pretend: go there
// without a jump, leave without saving. Not instrumented: in between, the thread has no fake stack of its own.
__attribute__((no_sanitize("address"), noinline)) void destroy_fake_stack(void* fake_stack, const void* bottom,
                                                                          std::size_t size) noexcept {
    void* mine = nullptr;
    const void* my_bottom = nullptr;
    std::size_t my_size = 0;
    __sanitizer_start_switch_fiber(&mine, bottom, size);
    __sanitizer_finish_switch_fiber(fake_stack, &my_bottom, &my_size);
    __sanitizer_start_switch_fiber(nullptr, my_bottom, my_size);
    __sanitizer_finish_switch_fiber(mine, nullptr, nullptr);
}

}  // namespace
#endif

void context::discard() noexcept {
#if FIBER_ASAN
    if (fake_stack_ != nullptr) destroy_fake_stack(fake_stack_, bottom_, size_);
    __asan_unpoison_memory_region(bottom_, size_);
    fake_stack_ = nullptr;
#endif
#if FIBER_TSAN
    if (tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
    tsan_fiber_ = nullptr;
#endif
    sp_ = nullptr;
}

void* switch_to(context& from, context& to, void* argument, exception_globals& live) noexcept {
    FIBER_ASSERT(to.sp_ != nullptr && &from != &to);
    // All of this thread's state is exchanged before the jump: what comes back may be on another thread.
    from.globals_ = live;
    live = to.globals_;
    void* target = to.sp_;
    context::landing::carry_sticky_flags(target);
    from.sp_ = argument;
    context::landing::depart(from, to);
    const transfer_t back = jump(target, &from);
#if FIBER_ASAN
    return context::landing::arrive(back, from.fake_stack_);
#else
    return context::landing::arrive(back, nullptr);
#endif
}

#if defined(__x86_64__)
// Does jump_fcontext keep MXCSR where carry_sticky_flags() looks for it, and load it from there? Leaves with a marked
// control word and no flag set; the other side looks for the mark and sets a flag; back here the flag must have
// arrived.
struct context::frame_probe {
    static constexpr std::uint32_t sticky_flags = 0x3f;
    static constexpr std::uint32_t inexact = 0x20;

    context here;
    context there;
    std::uint32_t marked = 0;
    bool found = false;

    static void run(void* argument) noexcept {
        auto& probe = *static_cast<frame_probe*>(argument);
        probe.found = inspect(probe.here.sp_, probe.marked);
        switch_to(probe.there, probe.here, nullptr, *thread_exception_globals());
    }

    __attribute__((no_sanitize("address"))) static bool inspect(void* saved_sp, std::uint32_t marked) noexcept {
        using word [[gnu::may_alias]] = std::uint32_t;
        if (*static_cast<word*>(saved_sp) != marked) return false;
        *static_cast<word*>(saved_sp) |= inexact;
        return true;
    }

    static std::uint32_t flags_to_carry() noexcept {
        // Room for the dynamic linker, which saves every vector register when it binds a symbol at its first call.
        alignas(16) static std::byte stack[64 * 1024];
        frame_probe probe;
        probe.there.make({stack, stack + sizeof stack}, &run);
        const std::uint32_t before = __builtin_ia32_stmxcsr();
        probe.marked = (before ^ 0x6000) & ~sticky_flags;  // another rounding mode
        __builtin_ia32_ldmxcsr(probe.marked);
        switch_to(probe.here, probe.there, &probe, *thread_exception_globals());
        const std::uint32_t after = __builtin_ia32_stmxcsr();
        __builtin_ia32_ldmxcsr(before);
        probe.there.discard();
        return probe.found && after == (probe.marked | inexact) ? sticky_flags : 0;
    }
};

const std::uint32_t context::carried_flags_ = frame_probe::flags_to_carry();
#endif

}  // namespace fiber::engine
