// Sockets that accept connections: the ground of asyncio.start_server. See serve() for the whole server.
// Thread safety: any number of fibers and threads accept, another closes. Moving and destroying: alone.
#pragma once

#include "fiber/net/stream.hpp"

namespace fiber::net {

class listener;

namespace detail {
// Parks until the listener is closed; false: the time is up. Cancellation point.
[[nodiscard]] bool is_closed_within(listener& which, io::limit within);
}  // namespace detail

class listener {
 public:
    static constexpr int default_backlog = 1024;

    listener() noexcept = default;  // refers to nothing
    // Binds and listens; port 0: any free one, see local(). A Unix path must not exist; it is removed by who made it.
    // Throws std::system_error, invalid_option (a negative backlog or size of a buffer).
    explicit listener(const endpoint& where, const socket_options& options = {}, int backlog = default_backlog);
    // "127.0.0.1", "::", and a port. Throws invalid_option as endpoint::ip(), std::system_error.
    listener(std::string_view numeric, std::uint16_t port, const socket_options& options = {})
        : listener(endpoint::ip(numeric, port), options) {}

    // Parks until somebody connects. A connection that was reset meanwhile is passed over. Cancellation point.
    // Throws std::system_error (errc::closed after close(); EMFILE, ENFILE, ENOBUFS when something has run out: the
    // connection waits on, try again later; ENOMEM: it may have been closed), timeout_error.
    stream accept(io::limit within = {});
    stream accept(std::error_code& error, io::limit within = {});

    // Where it listens; an empty endpoint, port 0 and the number -1 of one that is closed. Never wait.
    endpoint local() const noexcept { return detail::local_of(socket_.native_handle()); }
    std::uint16_t port() const noexcept { return local().port(); }
    bool is_open() const noexcept { return socket_.is_open(); }
    // Ends accepts under way with errc::closed. Never throws.
    void close() noexcept { socket_.close(); }
    int native_handle() const noexcept { return socket_.native_handle(); }

 private:
    friend bool detail::is_closed_within(listener& which, io::limit within);

    io::descriptor socket_;
    endpoint where_;
    bool no_delay_ = false;
    bool keep_alive_ = false;
};

}  // namespace fiber::net
