#include "fiber/net/connect.hpp"

#include <exception>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <utility>

#include "fiber/detail/io_call.hpp"
#include "fiber/error.hpp"
#include "fiber/offload.hpp"
#include "fiber/sleep.hpp"
#include "fiber/task.hpp"
#include "fiber/timeout.hpp"
#include "fiber/wait.hpp"

namespace fiber::net {

using namespace std::chrono_literals;

namespace {

constexpr auto stagger = 250ms;  // RFC 8305, section 8

class eai_category : public std::error_category {
 public:
    const char* name() const noexcept override { return "fiber.resolve"; }
    std::string message(int code) const override { return ::gai_strerror(code); }
};

struct answer {
    int error = 0;  // of getaddrinfo
    int system_error = 0;
    std::vector<endpoint> found;
};

// Blocks, unless the host is numeric.
answer ask(const std::string& host, std::uint16_t port, int flags) {
    addrinfo hints{};
    hints.ai_flags = flags | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    answer got;
    got.error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
    if (got.error == EAI_SYSTEM) got.system_error = errno;
    if (got.error != 0) return got;
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, &::freeaddrinfo);
    for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
        got.found.push_back(endpoint::from_native(each->ai_addr, each->ai_addrlen));
    }
    return got;
}

answer ask_elsewhere(const std::string& host, std::uint16_t port, const io::limit& within) {
    future<answer> asked = run_in_executor([host, port] { return ask(host, port, AI_ADDRCONFIG); });
    if (within.deadline() != engine::never) {
        const std::chrono::nanoseconds left(within.deadline() - fiber::detail::current_time());
        if (!asked.wait_for(left)) {
            asked.cancel();  // if no thread has begun with it, none will
            throw timeout_error("fiber: resolve " + host + ": timed out");
        }
    }
    return asked.get();
}

[[noreturn]] void fail_to_resolve(const answer& got, const std::string& host) {
    const std::string what = "fiber: resolve " + host;
    if (got.error == EAI_SYSTEM) throw std::system_error(got.system_error, std::generic_category(), what);
    throw std::system_error(got.error, resolve_category(), what);
}

// The first family's addresses and the others' in turn.
std::vector<endpoint> alternate(const std::vector<endpoint>& all) {
    std::vector<endpoint> first, second, mixed;
    for (const endpoint& each : all) (each.family() == all.front().family() ? first : second).push_back(each);
    for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
        if (i < first.size()) mixed.push_back(first[i]);
        if (i < second.size()) mixed.push_back(second[i]);
    }
    return mixed;
}

// One attempt to start connecting. 0: connected or under way; else errno.
__attribute__((noinline)) int begin_connect(int fd, const endpoint& to) noexcept {
    for (;;) {
        if (::connect(fd, to.native(), to.native_size()) == 0) return 0;
        if (errno == EINPROGRESS || errno == EISCONN) return 0;
        if (errno != EINTR) return errno;
    }
}

__attribute__((noinline)) int pending_error(int fd) noexcept {
    int error = 0;
    socklen_t size = sizeof error;
    return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

}  // namespace

const std::error_category& resolve_category() noexcept {
    static const eai_category instance;
    return instance;
}

std::vector<endpoint> resolve(std::string_view host, std::uint16_t port, io::limit within) {
    const std::string name(host);
    if (name.empty()) throw invalid_option("fiber: resolve: the name is empty");
    if (name.find('\0') != std::string::npos) {
        throw invalid_option(std::string("fiber: resolve \"") + name.c_str() + "\": has a zero byte in it");
    }
    this_fiber::check_cancelled();
    answer got = ask(name, port, AI_NUMERICHOST);
    if (got.error == EAI_NONAME) got = ask_elsewhere(name, port, within);
    if (got.error != 0) fail_to_resolve(got, name);
    return std::move(got.found);
}

stream connect(const endpoint& to, io::limit within, const socket_options& options) {
    this_fiber::check_cancelled();
    io::descriptor socket = detail::make_socket(to.family(), SOCK_STREAM, options, to);
    int error = begin_connect(socket.native_handle(), to);
    for (auto pause = 1ms; error == EAGAIN && to.family() == AF_UNIX; pause = std::min(pause * 2, 64ms)) {
        // The listener's backlog is full, and the kernel tells nobody when there is room again.
        if (within.deadline() <= fiber::detail::current_time())
            detail::fail(std::make_error_code(std::errc::timed_out), "connect to", to);
        sleep_for(pause);
        error = begin_connect(socket.native_handle(), to);
    }
    if (error == 0) {
        std::error_code failed;
        socket.wait_writable(failed, within);
        if (failed) detail::fail(failed, "connect to", to);
        error = pending_error(socket.native_handle());
    }
    if (error != 0) detail::fail(std::error_code(error, std::generic_category()), "connect to", to);
    return stream(std::move(socket), to);
}

stream detail::connect_to_first(const std::vector<endpoint>& all, const io::limit& within,
                                const socket_options& options) {
    std::vector<task<stream>> running;
    std::exception_ptr first_failure;
    std::size_t next = 0;
    for (;;) {
        if (next < all.size()) {
            running.push_back(spawn([to = all[next], within, options] { return connect(to, within, options); }));
            ++next;
        }
        if (running.empty()) std::rethrow_exception(first_failure);
        if (next < all.size()) {
            (void)wait(running, first_completed, stagger);
        } else {
            (void)wait(running, first_completed);
        }
        for (std::size_t i = running.size(); i-- > 0;) {
            if (!running[i].done()) continue;
            try {
                return running[i].get();  // the others are cancelled and joined
            } catch (const std::exception&) {
                if (first_failure == nullptr) first_failure = std::current_exception();
            }
            running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }
}

stream connect(std::string_view host, std::uint16_t port, io::limit within, const socket_options& options) {
    const std::vector<endpoint> all = alternate(resolve(host, port, within));
    return all.size() == 1 ? connect(all.front(), within, options) : detail::connect_to_first(all, within, options);
}

}  // namespace fiber::net
