// Exceptions that nobody retrieved: a task failed, and its handle went (or was detached) without get() or exception().
// asyncio logs "Task exception was never retrieved"; here a handler is called, by default one that writes a line to
// stderr.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include "scheduler/core/task.hpp"

namespace fiber {

struct unretrieved_exception {
    std::exception_ptr exception;
    std::string_view task_name;  // empty if none
    std::uint64_t task_id = 0;
    const char* file = nullptr;  // where the task was spawned; nullptr if not known
    std::uint32_t line = 0;
};

// A copyable holder of a handler: any callable that takes a const unretrieved_exception& or a std::exception_ptr.
// It is called once for each such exception, on whatever thread lets go of the task last, without any lock; it must not
// wait, and what it throws is ignored.
class unretrieved_exception_handler {
 public:
    unretrieved_exception_handler() noexcept = default;  // none: the next outer handler is asked

    // An empty std::function and a null pointer are none, too. Throws std::bad_alloc, and what copying f throws.
    template <class F>
    requires(!std::is_same_v<std::decay_t<F>, unretrieved_exception_handler>) unretrieved_exception_handler(F&& f) {
        if constexpr (std::is_constructible_v<std::decay_t<F>, std::nullptr_t>) {
            if (f == nullptr) return;
        }
        call_ = std::make_shared<holder<std::decay_t<F>>>(std::forward<F>(f));
    }
    unretrieved_exception_handler(std::nullptr_t) noexcept {}

    explicit operator bool() const noexcept { return call_ != nullptr; }
    void operator()(const unretrieved_exception& what) const { call_->call(what); }

 private:
    struct base {
        virtual ~base() = default;
        virtual void call(const unretrieved_exception& what) = 0;
    };
    template <class F>
    struct holder final : base {
        template <class G>
        explicit holder(G&& g) : f(std::forward<G>(g)) {}
        void call(const unretrieved_exception& what) override {
            if constexpr (std::is_invocable_v<F&, const unretrieved_exception&>) {
                f(what);
            } else {
                f(what.exception);
            }
        }
        F f;
    };

    std::shared_ptr<base> call_;
};

// Sets the handler of the process for runtimes that have none in their options, and returns the one before. Any thread.
unretrieved_exception_handler set_unretrieved_exception_handler(unretrieved_exception_handler handler);

namespace detail {
void report_unretrieved(engine::task_slot& slot, const std::exception_ptr& exception) noexcept;
void report_unretrieved(std::exception_ptr exception) noexcept;  // of no task; to the process-wide handler
}  // namespace detail

}  // namespace fiber
