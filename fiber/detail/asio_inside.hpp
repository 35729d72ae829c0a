// The one look into Boost.Asio's own scheduler: so that a fiber can run an io_context without a thread that blocks in
// it.
//
// What an io_context waits for stands in an epoll set, timers included, whose descriptor can be waited for like any
// other. Only a handler that is posted while nobody runs the context leaves no mark there. But a context whose thread
// blocks in epoll_wait is interrupted through that same set, and whether one blocks is a flag: task_interrupted_. So
// who has run everything that was ready clears the flag, under the scheduler's lock, and then waits for the descriptor.
//
// These are private members, reached by explicit instantiation, which asks for no access. So the header says for which
// versions it has been read against the sources; with others, and where Asio does without epoll, a thread runs the
// context (FIBER_ASIO_THREAD).
#pragma once

// clang-format off
#include <type_traits>
#include <utility>

// Below the others: Boost 1.74's headers use <utility> without including it.
#include <boost/asio/detail/config.hpp>
#include <boost/asio/version.hpp>
// clang-format on

// Boost 1.74 to 1.83.
#if !defined(FIBER_ASIO_THREAD) && (BOOST_ASIO_VERSION < 101800 || BOOST_ASIO_VERSION >= 102900 || \
                                    !defined(BOOST_ASIO_HAS_EPOLL) || defined(BOOST_ASIO_HAS_IO_URING_AS_DEFAULT))
#define FIBER_ASIO_THREAD
#endif

#if !defined(FIBER_ASIO_THREAD)

// detail/reactor.hpp does not include what it needs.
// clang-format off
#include <boost/asio/io_context.hpp>
#include <boost/asio/detail/scheduler.hpp>
#include <boost/asio/detail/reactor.hpp>
// clang-format on

namespace fiber::detail {

// name(): the pointer to a private member.
#define FIBER_ASIO_MEMBER(name, member)         \
    struct name {                               \
        friend constexpr auto pointer_to(name); \
    };                                          \
    template struct asio_member<name, &boost::asio::detail::member>

template <class Name, auto member>
struct asio_member {
    friend constexpr auto pointer_to(Name) { return member; }
};
FIBER_ASIO_MEMBER(asio_mutex, scheduler::mutex_);
FIBER_ASIO_MEMBER(asio_queue, scheduler::op_queue_);
FIBER_ASIO_MEMBER(asio_task, scheduler::task_operation_);
FIBER_ASIO_MEMBER(asio_interrupted, scheduler::task_interrupted_);
FIBER_ASIO_MEMBER(asio_epoll, epoll_reactor::epoll_fd_);
#undef FIBER_ASIO_MEMBER

class asio_inside {
 public:
    explicit asio_inside(boost::asio::io_context& context)
        : scheduler_(boost::asio::use_service<boost::asio::detail::scheduler>(context)),
          reactor_(boost::asio::use_service<boost::asio::detail::reactor>(context)) {
        reactor_.init_task();
    }

    // Readable as long as there is something for the context to run, once expect_interrupt() has said so.
    int descriptor() const noexcept { return reactor_.*pointer_to(asio_epoll{}); }

    // From here on a handler that is posted makes the descriptor readable. false: there is one already.
    [[nodiscard]] bool expect_interrupt() {
        auto& mutex = scheduler_.*pointer_to(asio_mutex{});
        typename std::remove_reference_t<decltype(mutex)>::scoped_lock lock(mutex);
        if (has_handlers()) return false;
        scheduler_.*pointer_to(asio_interrupted{}) = false;
        return true;
    }

 private:
    // The place of the reactor in the queue is no handler. It is gone while another thread runs the context.
    bool has_handlers() {
        auto& queue = scheduler_.*pointer_to(asio_queue{});
        auto* first = queue.front();
        if (first != &(scheduler_.*pointer_to(asio_task{}))) return first != nullptr;
        queue.pop();
        const bool more = !queue.empty();
        queue.push(first);
        return more;
    }

    boost::asio::detail::scheduler& scheduler_;
    boost::asio::detail::reactor& reactor_;
};

}  // namespace fiber::detail

#endif
