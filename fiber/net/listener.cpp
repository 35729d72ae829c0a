#include "fiber/net/listener.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "fiber/detail/io_call.hpp"
#include "fiber/error.hpp"

namespace fiber::net {

namespace {

// Of the connection that would have been next: there are others.
bool concerns_one_connection(long outcome) noexcept {
    switch (-outcome) {
        case ECONNABORTED:
        case EPROTO:
        case ENETDOWN:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case EPERM:
            return true;
        default:
            return false;
    }
}

stream take_over(int fd, const endpoint& peer, std::error_code& error) {
    try {
        return stream(io::detail::own(fd, detail::meaning_of_short_read(peer.family(), SOCK_STREAM)), peer);
    } catch (const std::bad_alloc&) {  // the peer sees its connection end
        error = std::make_error_code(std::errc::not_enough_memory);
        return {};
    }
}

void switch_on(int fd, int level, int option) noexcept {
    constexpr int on = 1;
    (void)::setsockopt(fd, level, option, &on, sizeof on);  // fails if the peer has gone: the first read will say so
}

}  // namespace

listener::listener(const endpoint& where, const socket_options& options, int backlog)
    : socket_(detail::make_socket(where.family(), SOCK_STREAM, options, where)),
      where_(where),
      no_delay_(options.no_delay && where.family() != AF_UNIX),
      keep_alive_(options.keep_alive && where.family() != AF_UNIX) {
    if (backlog < 0) {
        throw invalid_option("fiber: listener: a backlog of " + std::to_string(backlog) + "; 0 or more can be");
    }
    const int fd = socket_.native_handle();
    if (where.family() != AF_UNIX && options.reuse_address) switch_on(fd, SOL_SOCKET, SO_REUSEADDR);
    if (::bind(fd, where.native(), where.native_size()) != 0) {
        detail::fail(std::error_code(errno, std::generic_category()), "bind to", where);
    }
    if (::listen(fd, backlog) != 0) detail::fail(std::error_code(errno, std::generic_category()), "listen on", where);
    where_ = local();  // the port is known now, for errors to name
}

stream listener::accept(std::error_code& error, io::limit within) {
    error.clear();
    if (socket_.source() == nullptr) {
        error = io::errc::closed;
        return {};
    }
    for (;;) {
        sockaddr_storage from;
        socklen_t size = sizeof from;
        auto* native = reinterpret_cast<sockaddr*>(&from);
        const long outcome = fiber::detail::perform_read(*socket_.source(), 0, within.deadline(), [&](int fd) {
            size = sizeof from;
            return fiber::detail::accept_now(fd, native, &size);
        });
        if (outcome >= 0) {
            const int fd = static_cast<int>(outcome);
            if (no_delay_) switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
            if (keep_alive_) switch_on(fd, SOL_SOCKET, SO_KEEPALIVE);
            return take_over(fd, endpoint::from_native(native, size), error);
        }
        if (concerns_one_connection(outcome)) continue;
        error = fiber::detail::error_of(outcome);
        return {};
    }
}

stream listener::accept(io::limit within) {
    std::error_code error;
    stream made = accept(error, within);
    if (error) detail::fail(error, "accept on", where_);
    return made;
}

}  // namespace fiber::net
