// The yardstick: what a programmer who writes the event loop by hand can reach on one CPU. Edge-triggered epoll, one
// registration per connection for good, one recv and one send per request, a shared buffer for all connections.
//
// A recv that returns less than was asked for has emptied the socket (epoll(7)), so no second one is needed to learn
// that; only when the event says that the peer has gone is the socket read to its end.
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <sys/epoll.h>

#include "bench/io/servers/protocol.hpp"
#include "bench/io/sockets.hpp"

namespace bench {
namespace {

enum class progress { idle, blocked, closed };

template <class Protocol>
class connection {
 public:
    explicit connection(int socket) : socket_(socket) {}
    ~connection() { ::close(socket_); }
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    // Reads and answers until there is nothing more to read (idle), the peer does not read (blocked), or it is over.
    progress serve(bool to_the_end) {
        static std::array<char, read_size> buffer;
        for (;;) {
            if (!unsent_.empty() && !send_unsent()) return errno == EAGAIN ? progress::blocked : progress::closed;
            const ssize_t n = ::recv(socket_, buffer.data(), buffer.size(), 0);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return n < 0 && errno == EAGAIN ? progress::idle : progress::closed;
            send(protocol_.answer({buffer.data(), static_cast<std::size_t>(n)}));
            if (protocol_.refused()) return progress::closed;
            if (static_cast<std::size_t>(n) < buffer.size() && unsent_.empty() && !to_the_end) return progress::idle;
        }
    }

 private:
    void send(std::string_view bytes) {
        if (bytes.empty()) return;
        const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n != static_cast<ssize_t>(bytes.size())) unsent_ = bytes.substr(n < 0 ? 0 : static_cast<std::size_t>(n));
    }

    // False if not all of it could be sent; errno says why.
    bool send_unsent() {
        while (!unsent_.empty()) {
            const ssize_t n = ::send(socket_, unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return false;
            unsent_.erase(0, static_cast<std::size_t>(n));
        }
        return true;
    }

    int socket_;
    Protocol protocol_;
    std::string unsent_;  // what the peer has not made room for: nearly always empty; nothing is read meanwhile
};

template <class Protocol>
class server {
 public:
    server() : listener_(listen_on_loopback(SOCK_NONBLOCK)), epoll_(checked(::epoll_create1(EPOLL_CLOEXEC), "epoll")) {
        add(listener_, nullptr, EPOLLIN);
        announce(port_of(listener_), "epoll, edge-triggered, one thread; one recv and one send per request");
    }

    [[noreturn]] void run() {
        std::array<epoll_event, 512> events;
        for (;;) {
            const int n = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
            for (int i = 0; i < n; ++i) on_event(events[static_cast<std::size_t>(i)]);
        }
    }

 private:
    void on_event(const epoll_event& event) {
        if (event.data.ptr == nullptr) return accept_all();
        auto* c = static_cast<connection<Protocol>*>(event.data.ptr);
        if (c->serve(event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == progress::closed) delete c;
    }

    void accept_all() {
        for (int socket; (socket = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
            set_no_delay(socket);
            add(socket, new connection<Protocol>(socket), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
        }
    }

    void add(int socket, void* data, std::uint32_t wanted) {
        epoll_event event{};
        event.events = wanted;
        event.data.ptr = data;
        checked(::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event), "epoll_ctl");
    }

    int listener_, epoll_;
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
    try {
        if (argc == 2 && std::strcmp(argv[1], "echo") == 0) bench::server<bench::echo>().run();
        if (argc == 2 && std::strcmp(argv[1], "http") == 0) bench::server<bench::hello>().run();
        std::fputs("usage: io_epoll echo|http\n", stderr);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "io_epoll: %s\n", error.what());
    }
    return 1;
}
