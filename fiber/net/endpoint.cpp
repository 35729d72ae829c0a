#include "fiber/net/endpoint.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>

#include "fiber/detail/io_call.hpp"
#include "fiber/error.hpp"
#include "fiber/io.hpp"

namespace fiber::net {

endpoint endpoint::ip(std::string_view numeric, std::uint16_t port) {
    const std::string text(numeric);
    if (text.find('\0') != std::string::npos) {
        throw invalid_option(std::string("fiber: endpoint::ip(\"") + text.c_str() + "\"): has a zero byte in it");
    }
    endpoint made;
    auto* four = reinterpret_cast<sockaddr_in*>(&made.storage_);
    auto* six = reinterpret_cast<sockaddr_in6*>(&made.storage_);
    if (::inet_pton(AF_INET, text.c_str(), &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        made.size_ = sizeof *four;
    } else if (::inet_pton(AF_INET6, text.c_str(), &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        made.size_ = sizeof *six;
    } else {
        throw invalid_option("fiber: endpoint::ip(\"" + text +
                             "\"): must be a numeric IPv4 or IPv6 address; for names there is net::resolve()");
    }
    return made;
}

endpoint endpoint::unix_path(std::string_view path) {
    endpoint made;
    auto* local = reinterpret_cast<sockaddr_un*>(&made.storage_);
    if (path.empty() || path.size() >= sizeof local->sun_path) {
        throw invalid_option("fiber: endpoint::unix_path(): " + std::to_string(path.size()) +
                             " characters; must be from 1 to " + std::to_string(sizeof local->sun_path - 1));
    }
    const bool abstract = path.front() == '\0';
    if (!abstract && path.find('\0') != std::string_view::npos) {
        throw invalid_option("fiber: endpoint::unix_path(\"" + std::string(path.data()) + "\"): has a zero byte in it");
    }
    local->sun_family = AF_UNIX;
    std::memcpy(local->sun_path, path.data(), path.size());
    made.size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
    return made;
}

endpoint endpoint::from_native(const sockaddr* address, socklen_t size) noexcept {
    endpoint made;
    made.size_ = size < sizeof made.storage_ ? size : sizeof made.storage_;
    std::memcpy(&made.storage_, address, made.size_);
    return made;
}

std::uint16_t endpoint::port() const noexcept {
    if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
    if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
    return 0;
}

std::string endpoint::to_string() const {
    char text[INET6_ADDRSTRLEN] = "?";
    switch (family()) {
        case AF_INET:
            ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr, text, sizeof text);
            return std::string(text) + ":" + std::to_string(port());
        case AF_INET6: {
            const auto* six = reinterpret_cast<const sockaddr_in6*>(&storage_);
            ::inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text);
            const std::string scope = six->sin6_scope_id != 0 ? "%" + std::to_string(six->sin6_scope_id) : "";
            return "[" + std::string(text) + scope + "]:" + std::to_string(port());
        }
        case AF_UNIX: {
            const auto* local = reinterpret_cast<const sockaddr_un*>(&storage_);
            const std::size_t length = size_ - offsetof(sockaddr_un, sun_path);
            if (size_ <= offsetof(sockaddr_un, sun_path)) return "unix:(unnamed)";
            if (local->sun_path[0] == '\0') {
                std::string name(local->sun_path, length);
                std::replace(name.begin(), name.end(), '\0', '@');  // a message ends at a zero byte
                return "unix:" + name;
            }
            return "unix:" + std::string(local->sun_path, ::strnlen(local->sun_path, length));
        }
        default:
            return "(no address)";
    }
}

bool endpoint::operator==(const endpoint& other) const noexcept {
    return size_ == other.size_ && std::memcmp(&storage_, &other.storage_, size_) == 0;
}

namespace detail {

namespace {

int set(int fd, int level, int option, int value) noexcept {
    return ::setsockopt(fd, level, option, &value, sizeof value) == 0 ? 0 : errno;
}

int apply(int fd, int family, int type, const socket_options& options) noexcept {
    const bool tcp = family != AF_UNIX && type == SOCK_STREAM;
    int error = 0;
    if (tcp && options.no_delay) error = set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (error == 0 && tcp && options.keep_alive) error = set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (error == 0 && options.send_buffer > 0) error = set(fd, SOL_SOCKET, SO_SNDBUF, options.send_buffer);
    if (error == 0 && options.receive_buffer > 0) error = set(fd, SOL_SOCKET, SO_RCVBUF, options.receive_buffer);
    if (error == 0 && family != AF_UNIX && options.reuse_port) error = set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (error == 0 && family == AF_INET6) error = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0);
    return error;
}

endpoint name_of(int fd, int (*ask)(int, sockaddr*, socklen_t*) noexcept) noexcept {
    sockaddr_storage storage;
    socklen_t size = sizeof storage;
    if (ask(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
    return endpoint::from_native(reinterpret_cast<const sockaddr*>(&storage), size);
}

}  // namespace

namespace {

void check_size(int bytes, const char* which) {
    if (bytes >= 0) return;
    throw invalid_option(std::string("fiber: socket_options::") + which + ": " + std::to_string(bytes) +
                         " bytes; 0, for the kernel's choice, or more");
}

}  // namespace

engine::short_read meaning_of_short_read(int family, int type) noexcept {
    const bool bytes_only = type == SOCK_STREAM && (family == AF_INET || family == AF_INET6);
    return bytes_only ? engine::short_read::drained : engine::short_read::unknown;
}

io::descriptor make_socket(int family, int type, const socket_options& options, const endpoint& for_whom) {
    check_size(options.send_buffer, "send_buffer");
    check_size(options.receive_buffer, "receive_buffer");
    const int fd = ::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int error = fd < 0 ? errno : apply(fd, family, type, options);
    if (error == 0) return io::detail::own(fd, detail::meaning_of_short_read(family, type));
    if (fd >= 0) ::close(fd);
    fail(std::error_code(error, std::generic_category()), "make a socket for", for_whom);
}

endpoint local_of(int fd) noexcept {
    return name_of(fd, [](int s, sockaddr* a, socklen_t* n) noexcept { return ::getsockname(s, a, n); });
}
endpoint peer_of(int fd) noexcept {
    return name_of(fd, [](int s, sockaddr* a, socklen_t* n) noexcept { return ::getpeername(s, a, n); });
}

void fail(const std::error_code& error, const char* operation, const endpoint& where) {
    fiber::detail::throw_io_error(error, std::string("fiber: ") + operation + " " + where.to_string());
}

}  // namespace detail

}  // namespace fiber::net
