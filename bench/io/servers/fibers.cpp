// One fiber per connection, straight-line code: this library as its pages recommend it.
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fiber/fiber.hpp>

#include "bench/io/servers/protocol.hpp"
#include "bench/io/sockets.hpp"

namespace bench {
namespace {

template <class Protocol>
void serve(fiber::net::stream connection) {
    Protocol protocol;
    std::array<char, read_size> buffer;
    std::error_code error;
    for (;;) {
        const std::size_t n = connection.read_some(fiber::io::mutable_bytes(buffer.data(), buffer.size()), error);
        if (error || n == 0) return;
        const std::string_view answer = protocol.answer({buffer.data(), n});
        if (!answer.empty()) connection.write_all(fiber::io::const_bytes(answer.data(), answer.size()), error);
        if (error || protocol.refused()) return;
    }
}

template <class Protocol>
void run() {
    fiber::run({.workers = 1}, [] {
        const auto where = fiber::net::endpoint::ip("127.0.0.1", 0);
        fiber::net::listener from(where, {.no_delay = true}, backlog);
        announce(from.port(), "fiber::net::serve, one worker, default options but no limit of connections");
        fiber::net::serve(from, serve<Protocol>, {.max_connections = 0});
    });
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
    try {
        if (argc == 2 && std::strcmp(argv[1], "echo") == 0) bench::run<bench::echo>();
        if (argc == 2 && std::strcmp(argv[1], "http") == 0) bench::run<bench::hello>();
        std::fputs("usage: io_fibers echo|http\n", stderr);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "io_fibers: %s\n", error.what());
    }
    return 1;
}
