// The jump, how an execution begins, and the switch under sanitizers. What the raw jump of Boost.Context leaves to us:
// exception globals, the floating-point trap, the prediction of returns, sanitizers.
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

#if defined(__x86_64__)
__attribute__((naked, noinline)) landing fiber_engine_jump(void* /*to*/, void* /*handed*/) noexcept {
    asm("jmp *jump_fcontext@GOTPCREL(%rip)");
}
#else
landing fiber_engine_jump(void* to, void* handed) noexcept {
    const transfer_t from = jump_fcontext(to, handed);
    return {from.fctx, from.data};
}
#endif

#if FIBER_TSAN
namespace {

// TSan notes a signal with the execution that it meets, and tells of it when that execution next calls something that
// TSan knows. One that is noted with an execution which leaves would wait for its return. So nothing is noted from here
// to the arrival, and what was noted before is told by this very call, for TSan knows it.
void keep_signals_back(sigset_t& before) noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
}

void let_signals_in(const sigset_t& before) noexcept { pthread_sigmask(SIG_SETMASK, &before, nullptr); }

}  // namespace
#endif

struct context::making {
    // Just before leaving for `to`. Nothing between here and the jump may call an instrumented function.
    static void depart([[maybe_unused]] context& from, [[maybe_unused]] context& to) noexcept {
#if FIBER_ASAN
        __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
#if FIBER_TSAN
        keep_signals_back(from.signals_);
        from.tsan_fiber_ = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(to.tsan_fiber_, 0);
#endif
    }

    // First thing on arrival. `fake_stack` is what the arriving execution saved when it left; returns the argument.
    // The bounds of the stack that was left come from ASan itself: it knows those of a thread's own stack, too.
    static void* arrive(const landing& from, [[maybe_unused]] void* fake_stack) noexcept {
        auto& left = *static_cast<context*>(from.handed);
#if FIBER_ASAN
        __sanitizer_finish_switch_fiber(fake_stack, &left.bottom_, &left.size_);
#endif
#if FIBER_TSAN
        let_signals_in(left.signals_);
#endif
        void* argument = left.sp_;
        left.sp_ = from.sp;
        return argument;
    }

    // The bottom frame of every made execution. make() comes by once to leave the entry here, the one word that a first
    // switch has no room for. Not instrumented by ASan: until arrive() it takes this stack for the maker's.
    __attribute__((no_sanitize("address"))) static void start(transfer_t from) noexcept {
        const entry run = *static_cast<const entry*>(from.data);
        run(arrive(jump(from.fctx, nullptr), nullptr));
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
    sp_ = make_fcontext(where.base, where.size(), &making::start);
#if FIBER_TSAN
    keep_signals_back(signals_);
    void* maker = __tsan_get_current_fiber();
    tsan_fiber_ = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(tsan_fiber_, 0);
#endif
    sp_ = jump(sp_, &start).sp;
#if FIBER_TSAN
    __tsan_switch_to_fiber(maker, 0);
    let_signals_in(signals_);
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

#if FIBER_ASAN || FIBER_TSAN
void* switch_to(context& from, context& to, void* argument, exception_globals& live) noexcept {
    FIBER_ASSERT(to.sp_ != nullptr && &from != &to);
    if (!live.empty() || !to.globals_.empty()) context::exchange_globals(from, to, live);
    void* target = to.sp_;
    from.sp_ = argument;
    context::making::depart(from, to);
    const landing back = jump(target, &from);
    context::adopt_sticky_flags(back.sp, nullptr);
#if FIBER_ASAN
    return context::making::arrive(back, from.fake_stack_);
#else
    return context::making::arrive(back, nullptr);
#endif
}
#endif

#if defined(__x86_64__)
// Does jump_fcontext keep MXCSR where adopt_sticky_flags() looks for it, and load it from there? Leaves with a marked
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
