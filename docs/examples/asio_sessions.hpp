// The connections of a server on Boost.Asio: a task for each, and a stop that disturbs only those that have nothing to
// lose.
#pragma once

#include <fiber/asio.hpp>
#include <fiber/fiber.hpp>

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <list>
#include <stdexcept>
#include <string>
#include <utility>

namespace example {

// Throws what names the address and the cause.
inline boost::asio::ip::tcp::acceptor listen_on(boost::asio::io_context& context, const std::string& address,
                                                std::uint16_t port) {
    using boost::asio::ip::tcp;
    try {
        return tcp::acceptor(context, tcp::endpoint(boost::asio::ip::make_address(address), port));
    } catch (const boost::system::system_error& error) {
        throw std::runtime_error("listen on " + address + ":" + std::to_string(port) + ": " + error.code().message());
    }
}

// What a session and its server tell each other. Between requests a session is idle: a stop of the server ends it
// there.
class idleness {
 public:
    // The session's. false: the server stops, and the session is to leave.
    [[nodiscard]] bool begin_idle() noexcept { return change(busy, idle); }
    [[nodiscard]] bool end_idle() noexcept { return change(idle, busy); }

    // The server's: it stops. true: the session is idle.
    bool tell() noexcept { return state_.exchange(told) == idle; }

 private:
    enum state { busy, idle, told };

    bool change(state from, state to) noexcept { return state_.compare_exchange_strong(from, to); }

    std::atomic<state> state_{busy};
};

// Belongs to the fiber that accepts.
class sessions {
 public:
    // Calls serve(idleness&) on a fiber of its own.
    template <class F>
    void start(F serve) {
        all_.remove_if([](const session& each) { return each.task.done(); });
        session& added = all_.emplace_back();
        added.task = fiber::spawn([&added, serve = std::move(serve)]() mutable { serve(added.idle); });
    }

    // Ends the idle ones now, and after `grace` those that are left.
    void stop(std::chrono::seconds grace) {
        for (session& each : all_) {
            if (each.idle.tell()) each.task.cancel();
        }
        const auto limit = fiber::now() + grace;
        for (session& each : all_) (void)each.task.wait_until(limit);
        for (session& each : all_) each.task.cancel();  // all at once; then each is waited for
        all_.clear();
    }

 private:
    struct session {
        idleness idle;
        fiber::task<void> task;
    };
    std::list<session> all_;
};

// Accepts until the task is cancelled. serve(socket, idleness&).
template <class Serve>
void accept_all(boost::asio::ip::tcp::acceptor& acceptor, std::chrono::seconds grace, Serve serve) {
    using namespace std::chrono_literals;
    sessions all;
    try {
        for (;;) {
            boost::system::error_code error;
            auto socket = acceptor.async_accept(fiber::use_fiber[error].on_cancel(acceptor));
            if (!error) {
                all.start(
                    [socket = std::move(socket), serve](idleness& idle) mutable { serve(std::move(socket), idle); });
            } else {
                fiber::sleep_for(50ms);  // no descriptor is left, say: it may be soon
            }
        }
    } catch (const fiber::cancelled&) {
        acceptor.close();
        fiber::uncancellable([&] { all.stop(grace); });
        throw;
    }
}

}  // namespace example
