#include "fiber/future.hpp"

#include <future>
#include <stdexcept>

#include "fiber/unretrieved.hpp"

namespace fiber::detail {

void throw_no_state() { throw std::future_error(std::future_errc::no_state); }
void throw_already_retrieved() { throw std::future_error(std::future_errc::future_already_retrieved); }
void throw_already_satisfied() { throw std::future_error(std::future_errc::promise_already_satisfied); }

void set_broken_promise(engine::task_slot& slot, result_base& result) noexcept {
    try {
        throw std::future_error(std::future_errc::broken_promise);
    } catch (...) {
        result.set_exception(slot, std::current_exception());  // or std::bad_alloc, if there is no memory for the words
    }
    slot.state.fetch_or(engine::task_slot::retrieved, std::memory_order_relaxed);  // nobody failed: not to be reported
}

std::exception_ptr require_exception(std::exception_ptr error) {
    if (error == nullptr)
        throw std::invalid_argument("fiber: promise::set_exception(nullptr): there is no exception to set");
    return error;
}

done_callback::done_callback(void (*run)(engine::deferred_call*) noexcept) noexcept
    : observer([](observer& self, engine::wake_list& later) noexcept {
          later.push_back(static_cast<done_callback&>(self));
      }),
      deferred_call{run} {}

void done_callback::attach(engine::task_slot& slot) noexcept {
    if (engine::observe(slot, *this) == engine::observe_verdict::already_finished) call(this);
}

void report_callback_exception() noexcept { report_unretrieved(std::current_exception()); }

}  // namespace fiber::detail
