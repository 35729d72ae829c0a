// Boost.Asio with callbacks, as its documentation tunes it for one thread: a concurrency hint, so that nothing is
// locked, the concrete executor type in the sockets instead of any_io_executor, and Asio's own recycling of handler
// memory. A session lives as long as one of its handlers does.
// clang-format off
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

// Below the others: Boost 1.74's headers use <utility> without including it.
#include <boost/asio.hpp>
// clang-format on

#include "bench/io/servers/protocol.hpp"
#include "bench/io/sockets.hpp"

namespace bench {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using executor = asio::io_context::executor_type;
using tcp_socket = asio::basic_stream_socket<tcp, executor>;
using tcp_acceptor = asio::basic_socket_acceptor<tcp, executor>;

template <class Protocol>
class session : public std::enable_shared_from_this<session<Protocol>> {
 public:
    explicit session(tcp_socket socket) : socket_(std::move(socket)) { socket_.set_option(tcp::no_delay(true)); }

    void read() {
        socket_.async_read_some(asio::buffer(buffer_), [self = this->shared_from_this()](auto error, std::size_t n) {
            if (!error) self->answer(n);
        });
    }

 private:
    void answer(std::size_t n) {
        const std::string_view bytes = protocol_.answer({buffer_.data(), n});
        if (protocol_.refused()) return;
        if (bytes.empty()) return read();
        // What several requests are answered with is shared by all connections, and is kept until all of it is sent.
        if (bytes.data() != buffer_.data() && bytes.size() > hello_response.size()) {
            several_ = bytes;
            return write(several_);
        }
        write(bytes);
    }

    void write(std::string_view bytes) {
        asio::async_write(socket_, asio::buffer(bytes.data(), bytes.size()),
                          [self = this->shared_from_this()](auto error, std::size_t) {
                              if (!error) self->read();
                          });
    }

    tcp_socket socket_;
    Protocol protocol_;
    std::array<char, read_size> buffer_;
    std::string several_;
};

template <class Protocol>
void accept_next(tcp_acceptor& acceptor) {
    acceptor.async_accept([&acceptor](auto error, tcp_socket socket) {
        if (!error) std::make_shared<session<Protocol>>(std::move(socket))->read();
        accept_next<Protocol>(acceptor);
    });
}

template <class Protocol>
int run() {
    asio::io_context context(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE);
    tcp_acceptor acceptor(context.get_executor());
    acceptor.assign(tcp::v4(), listen_on_loopback());
    accept_next<Protocol>(acceptor);
    char configuration[160];
    std::snprintf(configuration, sizeof configuration,
                  "Boost.Asio %d.%d (Boost " BOOST_LIB_VERSION
                  "), callbacks, io_context with CONCURRENCY_HINT_UNSAFE, "
                  "one thread",
                  BOOST_ASIO_VERSION / 100000, BOOST_ASIO_VERSION / 100 % 1000);
    announce(acceptor.local_endpoint().port(), configuration);
    context.run();
    return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
    try {
        if (argc == 2 && std::strcmp(argv[1], "echo") == 0) return bench::run<bench::echo>();
        if (argc == 2 && std::strcmp(argv[1], "http") == 0) return bench::run<bench::hello>();
        std::fputs("usage: io_asio echo|http\n", stderr);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "io_asio: %s\n", error.what());
    }
    return 1;
}
