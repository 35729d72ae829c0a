// Datagram sockets, UDP and Unix: loop.create_datagram_endpoint. Each message is whole, lost, or (Unix) waited for.
// Thread safety: any number of fibers and threads receive and send, another closes. Moving and destroying: alone.
#pragma once

#include "fiber/io.hpp"
#include "fiber/net/endpoint.hpp"

namespace fiber::net {

class datagram_socket {
 public:
    datagram_socket() noexcept = default;  // refers to nothing
    // Bound to an address; port 0: any free one. Throws std::system_error, invalid_option (a negative size of a
    // buffer).
    explicit datagram_socket(const endpoint& where, const socket_options& options = {});
    // Bound to nothing yet; for AF_INET, AF_INET6 or AF_UNIX. Throws as the other.
    explicit datagram_socket(int family, const socket_options& options = {});

    // From here on send() goes there, and only what comes from there is received; errors that it reports come back.
    void connect(const endpoint& to);

    // Receives one message; what does not fit is cut off, and `cut_off`, if given, says so. Cancellation points.
    // Throw std::system_error that names operation and endpoint, timeout_error.
    std::size_t receive_from(io::mutable_bytes into, endpoint& from, io::limit within = {}, bool* cut_off = nullptr);
    std::size_t receive_from(io::mutable_bytes into, endpoint& from, std::error_code& error, io::limit within = {},
                             bool* cut_off = nullptr);
    std::size_t receive(io::mutable_bytes into, io::limit within = {}, bool* cut_off = nullptr);
    std::size_t receive(io::mutable_bytes into, std::error_code& error, io::limit within = {}, bool* cut_off = nullptr);
    void send_to(io::const_bytes message, const endpoint& to, io::limit within = {});
    void send_to(io::const_bytes message, const endpoint& to, std::error_code& error, io::limit within = {});
    void send(io::const_bytes message, io::limit within = {});  // after connect()
    void send(io::const_bytes message, std::error_code& error, io::limit within = {});

    // Where it is bound; an empty endpoint, port 0 and the number -1 of one that is closed. Never wait.
    endpoint local() const noexcept { return detail::local_of(socket_.native_handle()); }
    std::uint16_t port() const noexcept { return local().port(); }
    bool is_open() const noexcept { return socket_.is_open(); }
    void close() noexcept { socket_.close(); }  // ends operations under way with errc::closed
    int native_handle() const noexcept { return socket_.native_handle(); }

 private:
    io::descriptor socket_;
    endpoint where_;
    endpoint peer_;
};

}  // namespace fiber::net
