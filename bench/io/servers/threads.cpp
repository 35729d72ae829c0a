// One thread per connection, blocking calls: what a program without fibers would write.
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <thread>

#include "bench/io/servers/protocol.hpp"
#include "bench/io/sockets.hpp"

namespace bench {
namespace {

bool send_all(int socket, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

template <class Protocol>
void serve(int socket) {
    Protocol protocol;
    std::array<char, read_size> buffer;
    for (;;) {
        const ssize_t n = ::recv(socket, buffer.data(), buffer.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || !send_all(socket, protocol.answer({buffer.data(), static_cast<std::size_t>(n)})) ||
            protocol.refused())
            break;
    }
    ::close(socket);
}

template <class Protocol>
[[noreturn]] void run() {
    const int listener = listen_on_loopback();
    announce(port_of(listener), "std::thread per connection, default stacks, blocking recv and send");
    for (;;) {
        const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (socket < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        set_no_delay(checked(socket, "accept"));
        std::thread(serve<Protocol>, socket).detach();
    }
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
    try {
        if (argc == 2 && std::strcmp(argv[1], "echo") == 0) bench::run<bench::echo>();
        if (argc == 2 && std::strcmp(argv[1], "http") == 0) bench::run<bench::hello>();
        std::fputs("usage: io_threads echo|http\n", stderr);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "io_threads: %s\n", error.what());
    }
    return 1;
}
