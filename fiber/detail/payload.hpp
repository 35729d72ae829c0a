// What stands behind the header of a task's slot, and what the engine may do with it.
#pragma once

#include <new>
#include <type_traits>
#include <utility>

#include "fiber/detail/invoke.hpp"
#include "fiber/detail/result.hpp"
#include "scheduler/core/current.hpp"

namespace fiber::detail {

void cancel_before_start(engine::task_slot& slot, result_base& result) noexcept;
void fail_before_start(engine::task_slot& slot, result_base& result, const char* why) noexcept;

// Stores what `call` returns or throws. The one place where a callable's outcome becomes a result.
template <class T, class Call>
void run_into(engine::task_slot& slot, result<T>& out, Call& call) noexcept {
    try {
        if constexpr (std::is_void_v<T>) {
            call();
            out.emplace();
        } else if constexpr (std::is_reference_v<T>) {
            out.emplace(std::addressof(call()));
        } else {
            out.emplace(call());
        }
    } catch (...) {
        out.capture(slot);
    }
}

template <class T, class Call>
struct payload {
    detail::result<T> result;
    union {
        Call call;  // from spawn to its end
    };

    template <class... B>
    explicit payload(B&&... args) : call(std::forward<B>(args)...) {}
    ~payload() {}

    static payload& of(engine::task_slot& slot) noexcept {
        return *std::launder(static_cast<payload*>(slot.payload()));
    }

    static void run(engine::task_slot& slot) noexcept {
        payload& self = of(slot);
        run_into<T>(slot, self.result, self.call);
        self.end_call(slot);
    }
    static void drop(engine::task_slot& slot) noexcept {
        payload& self = of(slot);
        self.end_call(slot);
        cancel_before_start(slot, self.result);
    }
    static void fail(engine::task_slot& slot, const char* why) noexcept {
        payload& self = of(slot);
        self.end_call(slot);
        fail_before_start(slot, self.result, why);
    }
    static void override_with_cancel(engine::task_slot& slot) noexcept {
        payload& self = of(slot);
        self.result.reset();
        self.result.set_cancelled(slot);
    }
    static void destroy(engine::task_slot& slot) noexcept {
        report_if_unretrieved(slot);
        of(slot).~payload();
    }

    static constexpr engine::task_operations operations{&run, &drop, &fail, &override_with_cancel, &destroy};

 private:
    // The destructors of what the callable holds are the user's: they may wait, and a cancellation that is still to be
    // delivered must not be thrown in them.
    void end_call(engine::task_slot& slot) noexcept {
        if constexpr (!std::is_trivially_destructible_v<Call>) {
            ++slot.uncancellable_depth;
            call.~Call();
            --slot.uncancellable_depth;
        }
    }
};

// Small callables live in the slot.
template <class T, class Call>
using payload_for = std::conditional_t<(sizeof(payload<T, Call>) <= 1024 && alignof(payload<T, Call>) <= 64),
                                       payload<T, Call>, payload<T, boxed_call<Call>>>;

}  // namespace fiber::detail
