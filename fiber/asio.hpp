// Boost.Asio on fibers: use_fiber, a completion token, and the drivers that let a runtime's own workers run an
// io_context. Needs Boost.Asio (1.74 or later), headers only; nothing else in the library includes it.
//
//     fiber::run([] {
//         fiber::asio_context context;
//         tcp::socket socket(context);
//         socket.async_connect(endpoint, fiber::use_fiber);              // parks this fiber, no thread
//         std::size_t n = asio::async_read(socket, buffer, fiber::use_fiber);
//     });
//
// Thread safety: as Asio's: distinct objects from anywhere, one object by one fiber at a time, unless it says more.
#pragma once

// clang-format off
#include <chrono>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>

// Below the others: Boost 1.74's headers use <utility> without including it.
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
// clang-format on

#include "fiber/detail/asio_inside.hpp"
#include "fiber/detail/asio_operation.hpp"
#include "fiber/introspect.hpp"
#include "fiber/shield.hpp"
#include "fiber/task.hpp"
#if defined(FIBER_ASIO_THREAD)
#include "fiber/offload.hpp"
#else
#include <cerrno>
#include <fcntl.h>
#include <system_error>

#include "fiber/io.hpp"
#include "fiber/sleep.hpp"
#endif

namespace fiber {

// A completion token: the operation starts, the calling fiber parks until it has ended, and the call returns its value:
// nothing, the one, or a tuple of several, without the error_code or exception_ptr that leads them, which is thrown:
// boost::system::system_error, or the exception. Who runs the io_context does not matter: a driver below, or threads of
// the user's own. From a plain thread it blocks; not in a handler of the context it waits for.
//
// Cancellation point. The operation's buffers are the caller's, so it is never left behind: a cancelled fiber asks the
// operation to end, by on_cancel(), otherwise through its cancellation slot (Boost 1.77 or later), and waits for that
// end. Without either it just waits. An operation that ends well all the same returns its value, and the cancellation
// stays for the next cancellation point; one that fails throws `cancelled`.
// An operation that is dropped without an end, because its context is destroyed: system_error, operation_aborted.
// usage_error: in a handler that a driver below runs.
template <class Canceller = detail::no_canceller>
class fiber_token {
 public:
    constexpr fiber_token() noexcept = default;

    // Sets `error` to what would be thrown, if it is an error_code of Boost's, and returns the values all the same.
    // `cancelled` is thrown always.
    constexpr fiber_token operator[](boost::system::error_code& error) const {
        fiber_token token(*this);
        token.error_ = &error;
        return token;
    }

    // Calls cancel() when the fiber is cancelled while it waits: where the operation's handlers run, so that it may
    // touch the same object, and before the operation returns. What it throws is thrown in place of `cancelled`.
    template <class F>
    requires std::is_invocable_v<F&>
    constexpr auto on_cancel(F cancel) const { return fiber_token<F>(error_, std::move(cancel)); }
    // The same for whatever has cancel(): a socket, an acceptor, a timer, a resolver.
    template <class Object>
    requires requires(Object& object) { object.cancel(); }
    constexpr auto on_cancel(Object& object) const {
        return on_cancel([&object] { object.cancel(); });
    }

 private:
    template <class, class...>
    friend class detail::asio_result;
    template <class>
    friend class fiber_token;

    constexpr fiber_token(boost::system::error_code* error, Canceller canceller)
        : error_(error), canceller_(std::move(canceller)) {}

    boost::system::error_code* error_ = nullptr;
    [[no_unique_address]] Canceller canceller_;
};

using use_fiber_t = fiber_token<>;
inline constexpr use_fiber_t use_fiber;

// Runs an io_context on the workers of the current runtime, in place of threads in run(), as long as it stands. Idle,
// it costs nothing: it waits with the runtime's other descriptors. Made on a fiber, and destroyed before run() returns:
// what still waits for the context in a runtime that stops is driven to its end.
//
// Handlers run on a worker, but on no fiber: what waits in one blocks that worker; spawn a fiber there instead. What
// one throws is reported like an exception that nobody retrieved. It starts a context that has stopped again, and as
// run() it ends when the context is stopped; nobody else should run it meanwhile. Throws usage_error outside a runtime,
// std::system_error (no descriptor left), std::bad_alloc, invalid_option.
class asio_driver {
 public:
    // Handlers have a stack of `stack_size` bytes; 0: the runtime's default.
    explicit asio_driver(boost::asio::io_context& context, std::size_t stack_size = 0);
    ~asio_driver();
    asio_driver(const asio_driver&) = delete;
    asio_driver& operator=(const asio_driver&) = delete;

 private:
    static constexpr const char* task_name = "fiber::asio_driver";

    task<void> start(std::size_t stack_size);
    void drive();
    void run_handlers() noexcept;
    void report();
    static bool is_alone();

    boost::asio::io_context& context_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
    std::exception_ptr thrown_;  // by a handler
    bool stopping_ = false;      // the runtime
#if defined(FIBER_ASIO_THREAD)
    void wait_for_end(future<void>& running);
#else
    void wait_for_events();

    detail::asio_inside inside_;
    io::descriptor events_;  // the context's epoll set, by a number of its own
#endif
    task<void> task_;
};

// An io_context with its driver.
class asio_context : public boost::asio::io_context {
 public:
    explicit asio_context(std::size_t stack_size = 0) : driver_(*this, stack_size) {}

 private:
    asio_driver driver_;
};

// --- implementation ---

inline task<void> asio_driver::start(std::size_t stack_size) {
    return spawn({.name = task_name, .stack_size = stack_size}, [this] { drive(); });
}

// As an exception that nobody retrieved, of a task of its own.
inline void asio_driver::report() {
    if (thrown_ == nullptr) return;
    try {
        spawn({.name = "handler of Boost.Asio"}, [thrown = thrown_] { std::rethrow_exception(thrown); }).detach();
        thrown_ = nullptr;
    } catch (const std::bad_alloc&) {
        // The driver goes on; the next turn tries again.
    }
}

inline bool asio_driver::is_alone() {
    try {
        for (const task_info& each : all_tasks()) {
            if (each.name != task_name) return false;
        }
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

#if !defined(FIBER_ASIO_THREAD)

inline asio_driver::asio_driver(boost::asio::io_context& context, std::size_t stack_size)
    : context_(context), work_(context.get_executor()), inside_(context) {
    const int number = ::fcntl(inside_.descriptor(), F_DUPFD_CLOEXEC, 0);
    if (number < 0) throw std::system_error(errno, std::generic_category(), "fiber::asio_driver: watch an io_context");
    events_ = io::detail::own(number);
    context.restart();
    task_ = start(stack_size);
}

inline asio_driver::~asio_driver() {
    events_.close();
    uncancellable([this] { task_.wait(); });
}

inline void asio_driver::drive() {
    while (events_.is_open() && !context_.stopped() && !(stopping_ && is_alone())) {
        detail::call_off_fiber([this]() noexcept { run_handlers(); });
        report();
        if (inside_.expect_interrupt() && !context_.stopped()) {  // from there on a stop interrupts, too
            wait_for_events();
        } else {
            uncancellable([] { yield(); });
        }
    }
}

// Some of them: those that post others without end leave the worker to its fibers in between.
inline void asio_driver::run_handlers() noexcept {
    constexpr int most_at_once = 128;
    try {
        for (int count = 0; count < most_at_once && context_.poll_one() != 0; ++count) {
        }
    } catch (...) {
        thrown_ = std::current_exception();
    }
}

// A runtime that stops cancels all its tasks, this one, too, and nobody else can. Those who wait for the context need
// it all the same; from then on it looks now and then whether it is alone.
inline void asio_driver::wait_for_events() {
    constexpr std::chrono::milliseconds look_again(10);
    std::error_code error;
    try {
        if (!stopping_) events_.wait_readable(error);
        if (!stopping_ && !error) return;
    } catch (const cancelled&) {
        stopping_ = true;
    }
    uncancellable([&] {
        events_.wait_readable(error, look_again);
        const bool unwatched = error && error != std::errc::timed_out && events_.is_open();  // out of memory
        if (unwatched) sleep_for(look_again);
    });
}

#else

inline asio_driver::asio_driver(boost::asio::io_context& context, std::size_t stack_size)
    : context_(context), work_(context.get_executor()) {
    context.restart();
    task_ = start(stack_size);
}

inline asio_driver::~asio_driver() {
    context_.stop();
    uncancellable([this] { task_.wait(); });
}

// One thread of the offload pool blocks in run().
inline void asio_driver::drive() {
    while (!context_.stopped()) {
        future<void> running =
            run_in_executor([this] { detail::call_off_fiber([this]() noexcept { run_handlers(); }); });
        wait_for_end(running);
        report();
    }
}

inline void asio_driver::run_handlers() noexcept {
    try {
        context_.run();
    } catch (...) {
        thrown_ = std::current_exception();
    }
}

inline void asio_driver::wait_for_end(future<void>& running) {
    constexpr std::chrono::milliseconds look_again(10);
    try {
        if (!stopping_) return running.wait();
    } catch (const cancelled&) {
        stopping_ = true;
    }
    uncancellable([&] {
        while (!running.wait_for(look_again)) {
            if (is_alone()) context_.stop();
        }
    });
}

#endif

template <class Canceller>
inline constexpr bool detail::is_fiber_token<fiber_token<Canceller>> = true;

}  // namespace fiber

namespace boost::asio {

template <class Canceller, class R, class... Args>
class async_result<fiber::fiber_token<Canceller>, R(Args...)> : public fiber::detail::asio_result<Canceller, Args...> {
};

// bind_executor(executor, use_fiber). Asio's own starts nothing for a token that waits (Boost 1.74), and does not say
// where the handlers run, which on_cancel() has to know.
template <class Token, class Executor, class Signature>
requires fiber::detail::is_fiber_token<Token>
class async_result<executor_binder<Token, Executor>, Signature> {
 public:
    using return_type = typename async_result<Token, Signature>::return_type;

    template <class Initiation, class Binder, class... A>
    static return_type initiate(Initiation&& initiation, Binder&& binder, A&&... arguments) {
        using bound = fiber::detail::bound_initiation<Executor, std::decay_t<Initiation>>;
        auto& token = binder.get();
        return async_initiate<decltype(token), Signature>(
            bound{binder.get_executor(), std::forward<Initiation>(initiation)}, token, std::forward<A>(arguments)...);
    }
};

}  // namespace boost::asio
