#include "fiber/task.hpp"

#include <future>
#include <mutex>
#include <unistd.h>
#include <utility>

#include "fiber/detail/runtime_state.hpp"
#include "fiber/unretrieved.hpp"
#include "scheduler/core/scheduler.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::detail {

// --- durations ---

void throw_not_a_number() { throw std::invalid_argument("fiber: a duration or time is not a number (NaN)"); }

engine::nanos current_time() noexcept {
    engine::worker* here = engine::worker::current();
    return here != nullptr ? here->home().now() : engine::monotonic_now();
}

// --- results ---

void result_base::set_exception(engine::task_slot& slot, std::exception_ptr error) noexcept {
    ::new (static_cast<void*>(&exception_)) std::exception_ptr(std::move(error));
    kind_ = kind::exception;
    slot.ends_failed = true;
}

void result_base::capture(engine::task_slot& slot) noexcept {
    try {
        throw;
    } catch (const fiber::cancelled&) {
        ::new (static_cast<void*>(&exception_)) std::exception_ptr(std::current_exception());
        kind_ = kind::cancelled;
        slot.ends_cancelled = true;
    } catch (...) {
        set_exception(slot, std::current_exception());
    }
}

void result_base::set_cancelled(engine::task_slot& slot) noexcept {
    // make_exception_ptr takes from the emergency pool of the C++ runtime if there is no memory.
    ::new (static_cast<void*>(&exception_))
        std::exception_ptr(std::make_exception_ptr(fiber::cancelled(engine::cancel_message(slot))));
    kind_ = kind::cancelled;
    slot.ends_cancelled = true;
    slot.ends_failed = false;
}

void rethrow_result(const result_base& result) {
    if (result.has_exception()) std::rethrow_exception(result.exception());
    if (result.what() == result_base::kind::taken) throw std::future_error(std::future_errc::future_already_retrieved);
    throw std::future_error(std::future_errc::no_state);
}

void cancel_before_start(engine::task_slot& slot, result_base& result) noexcept { result.set_cancelled(slot); }

void fail_before_start(engine::task_slot& slot, result_base& result, const char* why) noexcept {
    result.set_exception(slot, static_cast<runtime_state&>(slot.pool->home()).start_failure(why));
}

void report_if_unretrieved(engine::task_slot& slot) noexcept {
    const result_base& result = result_base::of(slot);
    if (result.what() == result_base::kind::exception && !slot.is(engine::task_slot::retrieved)) [[unlikely]] {
        report_unretrieved(slot, result.exception());
    }
}

// --- handles ---

void handle::throw_no_state() { throw std::future_error(std::future_errc::no_state); }

void handle::throw_not_joined(engine::join_verdict why) {
    if (why == engine::join_verdict::itself) throw usage_error("fiber: a task waits for itself: that would never end");
    engine::task_slot& self = *engine::worker::current()->current_task();
    throw fiber::cancelled(engine::cancel_message(self));
}

void handle::mark_retrieved() const noexcept {
    slot_->state.fetch_or(engine::task_slot::retrieved, std::memory_order_acq_rel);
}

void handle::wait() const { (void)wait_until_nanos(engine::never); }

bool handle::wait_until_nanos(engine::nanos deadline) const {
    const engine::join_verdict verdict = engine::join_until(slot(), deadline);
    switch (verdict) {
        case engine::join_verdict::finished:
            return true;
        case engine::join_verdict::timed_out:
            return false;
        default:
            throw_not_joined(verdict);
    }
}

std::exception_ptr handle::exception() const {
    engine::task_slot& finished = slot();
    if (!finished.is(engine::task_slot::finished)) {
        throw usage_error("fiber: exception() of a task or future that has not finished; wait() for it first");
    }
    const result_base& result = result_base::of(finished);
    if (!result.has_exception()) return nullptr;
    mark_retrieved();
    if (result.what() == result_base::kind::cancelled) std::rethrow_exception(result.exception());
    return result.exception();
}

void handle::cancel_and_release() noexcept {
    engine::task_slot& last = *std::exchange(slot_, nullptr);
    (void)engine::cancel(last, nullptr);
    (void)engine::join(last, engine::interruptible::no);
    engine::release_handle(last);
}

// --- spawning ---

void detach(engine::task_slot& slot) noexcept {
    slot.state.fetch_or(engine::task_slot::detached, std::memory_order_acq_rel);
    engine::release_handle(slot);
}

std::uint8_t stack_class_of(const spawn_options& options) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    if (options.stack_size < engine::minimum_stack_size || options.stack_size > engine::maximum_stack_size ||
        options.stack_size % page != 0) {
        throw invalid_option("fiber: stack_size = " + std::to_string(options.stack_size) +
                             ": must be a multiple of the page size, " + std::to_string(page) + ", from " +
                             std::to_string(engine::minimum_stack_size) + " to " +
                             std::to_string(engine::maximum_stack_size) + " bytes");
    }
    return *engine::class_for(options.stack_size);
}

void throw_no_runtime() {
    throw usage_error("fiber: spawn() outside a runtime: call it on a fiber, or use runtime::spawn()");
}

void submit(engine::task_slot& slot) {
    if (!engine::submit_anywhere(slot)) {
        engine::end_unstarted(slot);
        throw runtime_stopped("fiber: the runtime has stopped; nothing can be handed to it any more");
    }
}

}  // namespace fiber::detail
