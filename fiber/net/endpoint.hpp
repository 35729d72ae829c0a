// Where a socket is or wants to go: an IPv4 or IPv6 address with a port, or a path of a Unix socket; and what may be
// set of a socket. Plain values: any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <system_error>

namespace fiber::engine {
enum class short_read : bool;
}
namespace fiber::io {
class descriptor;
}

namespace fiber::net {

class endpoint {
 public:
    endpoint() noexcept = default;  // nothing: family() is AF_UNSPEC

    // A numeric address, "127.0.0.1" or "::1" (a scope as in "fe80::1%eth0" is a name: see resolve()). Throws
    // invalid_option for anything else.
    static endpoint ip(std::string_view numeric, std::uint16_t port);
    // A path; one that begins with a zero byte is abstract. Throws invalid_option if it is empty or too long, or has a
    // zero byte elsewhere.
    static endpoint unix_path(std::string_view path);
    static endpoint from_native(const sockaddr* address, socklen_t size) noexcept;

    // AF_INET, AF_INET6, AF_UNIX; AF_UNSPEC of an empty one.
    int family() const noexcept { return size_ == 0 ? AF_UNSPEC : storage_.ss_family; }
    std::uint16_t port() const noexcept;  // 0 of what has none
    // "127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80" (the number of the interface), "unix:/run/x"; for messages.
    std::string to_string() const;

    // For system calls. Good as long as the endpoint is.
    const sockaddr* native() const noexcept { return reinterpret_cast<const sockaddr*>(&storage_); }
    socklen_t native_size() const noexcept { return size_; }
    bool operator==(const endpoint& other) const noexcept;

 private:
    sockaddr_storage storage_{};
    socklen_t size_ = 0;
};

// An aggregate. What does not apply to a kind of socket is left alone.
struct socket_options {
    bool no_delay = true;       // TCP: send small pieces at once
    bool keep_alive = false;    // TCP: notice a peer that has gone without a word
    bool reuse_address = true;  // listeners: bind although old connections linger
    bool reuse_port = false;    // listeners: several share the port, and the kernel spreads connections
    bool v6_only = false;       // listeners on "::": no IPv4
    int send_buffer = 0;        // bytes; 0: the kernel's choice
    int receive_buffer = 0;     // bytes; 0: the kernel's choice
};

namespace detail {

// The steps of making a socket, each of which throws std::system_error naming operation and endpoint, and
// invalid_option for a buffer of less than nothing.
io::descriptor make_socket(int family, int type, const socket_options& options, const endpoint& for_whom);
engine::short_read meaning_of_short_read(int family, int type) noexcept;
endpoint local_of(int fd) noexcept;
endpoint peer_of(int fd) noexcept;
[[noreturn]] void fail(const std::error_code& error, const char* operation, const endpoint& where);

}  // namespace detail

}  // namespace fiber::net
