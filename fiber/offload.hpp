// Calls that block, on OS threads of their own: asyncio.to_thread and loop.run_in_executor
// (https://docs.python.org/3/library/asyncio-eventloop.html#executing-code-in-thread-or-process-pools).
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "fiber/detail/invoke.hpp"
#include "fiber/future.hpp"
#include "fiber/shield.hpp"
#include "scheduler/core/ambient.hpp"
#include "scheduler/core/offload_pool.hpp"

namespace fiber {

namespace detail {

// The part of an offloaded call that does not depend on its type. It lives in the payload of the future's slot until
// the call has returned or was withdrawn, whatever becomes of the future.
struct offloaded : engine::offload_job {
    engine::task_slot* slot = nullptr;
    std::shared_ptr<engine::offload_pool> pool;
    engine::task_attachment* context = engine::share(engine::ambient_context());  // the caller's context variables

    offloaded() = default;
    ~offloaded() { release_context(); }  // of one that could not be built
    // By the pool's side: when the call has ended, or never will begin.
    void release_context() noexcept {
        if (context != nullptr) engine::release_attachment(context);
    }
    // Hands the job over; parks while the pool's queue is full. Throws runtime_stopped, std::system_error, `cancelled`.
    void submit();
    // Of a queued job: true, and it will not run.
    bool withdraw() noexcept;
};

std::shared_ptr<engine::offload_pool> current_offload_pool();  // throws usage_error outside a runtime

template <class T, class Call>
struct offload_payload {
    detail::result<T> result;
    offloaded job;
    union {
        Call call;  // until it has returned
    };

    template <class... B>
    explicit offload_payload(B&&... args) : call(std::forward<B>(args)...) {
        job.run = &run;
        job.drop = &drop_queued;
    }
    ~offload_payload() {}  // never called: each part ends for itself, on the pool's side or with the future

    static offload_payload& of(engine::task_slot& slot) noexcept {
        return *std::launder(static_cast<offload_payload*>(slot.payload()));
    }

    // The result is computed first and stored only if the future was not cancelled meanwhile. Its end is told when
    // nothing of the call is left here: an exception that is still being handled would live on behind who waited for
    // it.
    static void run(engine::offload_job* job) noexcept {
        engine::task_slot& slot = *static_cast<offloaded*>(job)->slot;
        offload_payload& self = of(slot);
        std::optional<engine::borrowed_context> callers(std::in_place, std::exchange(self.job.context, nullptr));
        const auto end_call = [&] {
            self.end_call();
            callers.reset();
        };
        try {
            if constexpr (std::is_void_v<T>) {
                self.call();
                end_call();
                self.settle(slot, [&] { self.result.emplace(); });
            } else if constexpr (std::is_reference_v<T>) {
                auto* value = std::addressof(self.call());
                end_call();
                self.settle(slot, [&] { self.result.emplace(value); });
            } else {
                stored_type<T> value = self.call();
                end_call();
                self.settle(slot, [&] { self.result.emplace(std::move(value)); });
            }
        } catch (...) {
            end_call();
            self.settle(slot, [&] { self.result.capture(slot); });
        }
        self.tell_end(slot);
    }

    static void drop_queued(engine::offload_job* job) noexcept {
        engine::task_slot& slot = *static_cast<offloaded*>(job)->slot;
        offload_payload& self = of(slot);
        self.end_call();
        self.settle(slot, [&] { self.result.set_cancelled(slot); });
        self.tell_end(slot);
    }

    // The future was cancelled. A call that has not begun never will; one that runs, runs on. What a withdrawn one
    // holds is destroyed with the future, by its owner: here may be a timer's turn, where nothing can wait.
    static void cancel(engine::task_slot& slot) noexcept {
        offload_payload& self = of(slot);
        self.result.set_cancelled(slot);
        if (self.job.withdraw()) {
            self.withdrawn_ = true;
            self.job.release_context();
            engine::release_runner(slot);
        }
    }

    static void override_with_cancel(engine::task_slot&) noexcept {}
    static void destroy(engine::task_slot& slot) noexcept {
        report_if_unretrieved(slot);
        offload_payload& self = of(slot);
        self.result.reset();
        if (self.withdrawn_) self.end_call();
        self.job.pool.reset();  // here: cancel() asks it, whether or not the call has ended meanwhile
    }
    static constexpr engine::task_operations operations{nullptr, &cancel, nullptr, &override_with_cancel, &destroy};

 private:
    // The destructors of what the callable holds are the user's: they may wait, and are not to be interrupted.
    void end_call() noexcept {
        if (std::exchange(ended_, true)) return;
        const uncancellable_scope scope;
        call.~Call();
    }
    template <class Write>
    void settle(engine::task_slot& slot, Write write) {
        if (owes_end_ || !engine::settle_begin(slot)) return;
        owes_end_ = true;
        try {
            write();
        } catch (...) {
            result.capture(slot);  // moving the value threw: that is the result
        }
    }
    void tell_end(engine::task_slot& slot) noexcept {
        if (owes_end_) engine::finish_promise(slot);
        job.release_context();
        engine::release_runner(slot);
    }

    bool ended_ = false;  // the callable
    bool withdrawn_ = false;
    bool owes_end_ = false;
};

template <class F, class... A>
auto offload_call(std::shared_ptr<engine::offload_pool> pool, F&& f, A&&... args) {
    using result_type = std::invoke_result_t<std::decay_t<F>, std::decay_t<A>...>;
    using content = offload_payload<result_type, bound_call<std::decay_t<F>, std::decay_t<A>...>>;
    static_assert(alignof(content) <= alignof(engine::task_slot), "fiber: over-aligned callables cannot be offloaded");
    engine::task_slot& slot = engine::allocate_promise(content::operations, sizeof(content));
    content* made = nullptr;
    try {
        made = ::new (slot.payload()) content(std::forward<F>(f), std::forward<A>(args)...);
    } catch (...) {
        engine::abandon(slot);
        throw;
    }
    made->job.slot = &slot;
    made->job.pool = std::move(pool);
    future<result_type> handle(slot);
    try {
        made->job.submit();
    } catch (...) {
        content::drop_queued(&made->job);
        throw;
    }
    return handle;
}

}  // namespace detail

// A pool of OS threads of one's own, for run_in_executor(pool, ...). Threads start as they are needed and end when
// idle. Any thread.
class thread_pool {
 public:
    // At most `threads` threads; 0: min(32, CPUs + 4). Throws invalid_option, std::bad_alloc.
    explicit thread_pool(std::size_t threads = 0);
    // Waits for running calls, unless it is one of them that ends the pool; those that have not begun are cancelled.
    ~thread_pool();
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    // Accepts no more calls, lets all that were accepted run, and waits for them: concurrent.futures' shutdown().
    // Not on a fiber: it blocks the thread. May be called again. Throws usage_error in a call of this pool.
    void shutdown();

    // For the library's own algorithms.
    const std::shared_ptr<engine::offload_pool>& engine_pool() const noexcept { return pool_; }

 private:
    std::shared_ptr<engine::offload_pool> pool_;
};

// Calls f(args...) on a thread of the runtime's pool, or of `pool`, and returns at once. Waits only while 65,536 calls
// are queued already: that is a cancellation point. The future: get() parks until the call has returned and gives its
// value or throws its exception. cancel() withdraws a call that has not begun; one that runs, runs on to its end, and
// its result is dropped. Dropping the future leaves the call alone. On a fiber; with a pool of one's own from any
// thread. Throws usage_error outside a runtime, runtime_stopped after shutdown(), std::system_error when no thread can
// be started and there is none, std::bad_alloc; then the call was not taken.
template <class F, class... A>
requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>...>
auto run_in_executor(F&& f, A&&... args) {
    return detail::offload_call(detail::current_offload_pool(), std::forward<F>(f), std::forward<A>(args)...);
}
template <class F, class... A>
requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>...>
auto run_in_executor(thread_pool& pool, F&& f, A&&... args) {
    return detail::offload_call(pool.engine_pool(), std::forward<F>(f), std::forward<A>(args)...);
}

// Calls f(args...) on a thread of the runtime's pool and parks until it has returned: its value, or its exception. The
// call sees a copy of the caller's context variables. asyncio.to_thread. On a fiber. Cancellation point: cancelling the
// caller gives up waiting; a call that runs, runs on, so what it refers to must outlive it. Throws as run_in_executor()
// does.
template <class F, class... A>
requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>...>
decltype(auto) to_thread(F&& f, A&&... args) {
    return run_in_executor(std::forward<F>(f), std::forward<A>(args)...).get();
}

}  // namespace fiber
