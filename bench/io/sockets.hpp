// The few socket calls that the load generator and the servers without a library of their own share.
// Every failure is a std::system_error that says which call it was.
#pragma once

#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace bench {

// Returns `result`, unless it says that the call failed.
inline int checked(int result, const char* call) {
    if (result < 0) throw std::system_error(errno, std::generic_category(), call);
    return result;
}

inline void set_no_delay(int socket) {
    const int on = 1;
    checked(::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
}

inline sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// Connections that wait to be accepted: the load opens all of its own at once.
constexpr int backlog = 4096;

// A listening socket on a port of the kernel's choice. `flags`: SOCK_NONBLOCK or nothing.
inline int listen_on_loopback(int flags = 0) {
    const int socket = checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "socket");
    const sockaddr_in address = loopback(0);
    checked(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
    checked(::listen(socket, backlog), "listen");
    return socket;
}

inline std::uint16_t port_of(int socket) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    checked(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
    return ntohs(address.sin_port);
}

inline int connect_to_loopback(std::uint16_t port) {
    const int socket = checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    const sockaddr_in address = loopback(port);
    checked(::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), "connect");
    set_no_delay(socket);
    return socket;
}

// What each server says when it is ready: one line, its port and how it is configured.
inline void announce(std::uint16_t port, const char* configuration) {
    std::printf("%u %s\n", port, configuration);
    std::fflush(stdout);
}

}  // namespace bench
