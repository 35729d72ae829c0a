#include "fiber/net/datagram.hpp"

#include <algorithm>
#include <chrono>

#include "fiber/detail/io_call.hpp"

namespace fiber::net {

using engine::io_direction;
using namespace std::chrono_literals;

namespace {

// Of a Unix socket that has not been connected the kernel tells nobody when its peer has room again, and every try that
// fails looks like room to whoever watches. So it is tried now and then.
long send_until_there_is_room(engine::io_source& source, const msghdr& message, engine::nanos deadline) {
    constexpr std::chrono::nanoseconds longest_pause = 16ms;
    fiber::detail::check_cancelled();
    fiber::detail::let_others_run(source);
    for (std::chrono::nanoseconds pause = 50us;; pause = std::min(pause * 2, longest_pause)) {
        const long outcome = fiber::detail::call_now(
            &source, [&](int fd) noexcept { return fiber::detail::send_message_now(fd, message, 0); });
        if (outcome != -EAGAIN) return outcome;
        const engine::nanos now = fiber::detail::current_time();
        if (deadline <= now) return fiber::detail::timed_out;
        sleep_for(std::min(pause, std::chrono::nanoseconds(deadline - now)));
    }
}

long send_or_wait(engine::io_source* source, const endpoint& to, const msghdr& message, engine::nanos deadline) {
    if (source == nullptr) return fiber::detail::was_closed;
    if (to.family() == AF_UNIX) return send_until_there_is_room(*source, message, deadline);
    return fiber::detail::perform(*source, io_direction::write, deadline,
                                  [&](int fd) { return fiber::detail::send_message_now(fd, message, 0); });
}

}  // namespace

datagram_socket::datagram_socket(int family, const socket_options& options)
    : socket_(detail::make_socket(family, SOCK_DGRAM, options, {})) {}

datagram_socket::datagram_socket(const endpoint& where, const socket_options& options)
    : socket_(detail::make_socket(where.family(), SOCK_DGRAM, options, where)) {
    if (::bind(native_handle(), where.native(), where.native_size()) != 0) {
        detail::fail(std::error_code(errno, std::generic_category()), "bind to", where);
    }
    where_ = local();  // the port is known now, for errors to name
}

void datagram_socket::connect(const endpoint& to) {
    const long outcome = fiber::detail::call_now(socket_.source(), [&](int fd) noexcept {
        return fiber::detail::connect_now(fd, to.native(), to.native_size());
    });
    if (outcome < 0) detail::fail(fiber::detail::error_of(outcome), "connect to", to);
    peer_ = to;
}

std::size_t datagram_socket::receive_from(io::mutable_bytes into, endpoint& from, std::error_code& error,
                                          io::limit within, bool* cut_off) {
    error.clear();
    sockaddr_storage source;
    iovec part{into.data, into.size};
    msghdr message{};
    const long outcome = socket_.source() == nullptr
                             ? fiber::detail::was_closed
                             : fiber::detail::perform_read(*socket_.source(), 0, within.deadline(), [&](int fd) {
                                   message = {};
                                   message.msg_name = &source;
                                   message.msg_namelen = sizeof source;
                                   message.msg_iov = &part;
                                   message.msg_iovlen = 1;
                                   return fiber::detail::receive_message_now(fd, message, 0);
                               });
    if (outcome < 0) {
        error = fiber::detail::error_of(outcome);
        return 0;
    }
    from = endpoint::from_native(reinterpret_cast<const sockaddr*>(&source), message.msg_namelen);
    if (cut_off != nullptr) *cut_off = (message.msg_flags & MSG_TRUNC) != 0;
    return static_cast<std::size_t>(outcome);
}

std::size_t datagram_socket::receive_from(io::mutable_bytes into, endpoint& from, io::limit within, bool* cut_off) {
    std::error_code error;
    const std::size_t size = receive_from(into, from, error, within, cut_off);
    if (error && peer_.native_size() != 0) detail::fail(error, "receive from", peer_);
    if (error) detail::fail(error, "receive on", is_open() ? local() : where_);
    return size;
}

std::size_t datagram_socket::receive(io::mutable_bytes into, io::limit within, bool* cut_off) {
    endpoint from;
    return receive_from(into, from, within, cut_off);
}

std::size_t datagram_socket::receive(io::mutable_bytes into, std::error_code& error, io::limit within, bool* cut_off) {
    endpoint from;
    return receive_from(into, from, error, within, cut_off);
}

void datagram_socket::send_to(io::const_bytes data, const endpoint& to, std::error_code& error, io::limit within) {
    error.clear();
    iovec part{const_cast<void*>(data.data), data.size};
    msghdr message{};
    if (to.native_size() != 0) {
        message.msg_name = const_cast<sockaddr*>(to.native());
        message.msg_namelen = to.native_size();
    }
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const long outcome = send_or_wait(socket_.source(), to, message, within.deadline());
    if (outcome < 0) error = fiber::detail::error_of(outcome);
}

void datagram_socket::send_to(io::const_bytes message, const endpoint& to, io::limit within) {
    std::error_code error;
    send_to(message, to, error, within);
    if (error) detail::fail(error, "send to", to.native_size() != 0 ? to : peer_);
}

void datagram_socket::send(io::const_bytes message, io::limit within) { send_to(message, endpoint(), within); }

void datagram_socket::send(io::const_bytes message, std::error_code& error, io::limit within) {
    send_to(message, endpoint(), error, within);
}

}  // namespace fiber::net
