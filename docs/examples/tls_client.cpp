// A TLS client on Boost.Asio, for servers that answer line by line: sends each line of standard input, prints the
// answer. The server's certificate must be good for the host that was asked for.
#include <fiber/asio.hpp>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <iostream>
#include <optional>

#include "docs/examples/program.hpp"

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using tls_stream = asio::ssl::stream<tcp::socket>;

namespace {

constexpr const char* usage =
    "usage: tls_client [--ca FILE] [--name NAME] [--patience SECONDS] HOST PORT\n"
    "  --ca        whose certificates are trusted, in PEM form (what the system trusts)\n"
    "  --name      for whom the certificate must be (HOST)\n"
    "  --patience  to connect, and for each answer (15)\n"
    "Try: echo hello | tls_client --ca ca.pem localhost 8443\n";

constexpr std::size_t longest_line = 64 * 1024;

struct settings {
    std::string host, port, name;
    std::chrono::seconds patience;
};

// An operation of `f` within the limit: f(token). Names what failed, and with whom.
template <class F>
auto attempt(const char* what, tcp::socket& socket, const settings& set, F f) {
    const auto named = [&](const std::string& why) {
        return std::runtime_error(std::string(what) + " " + set.host + ":" + set.port + ": " + why);
    };
    try {
        return fiber::with_timeout(set.patience, [&] { return f(fiber::use_fiber.on_cancel(socket)); });
    } catch (const boost::system::system_error& error) {
        throw named(error.code().message());
    } catch (const fiber::timeout_error&) {
        throw named("timed out");
    }
}

void connect(tls_stream& stream, const settings& set) {
    tcp::socket& socket = stream.next_layer();
    attempt("connect to", socket, set, [&](auto token) {
        tcp::resolver resolver(stream.get_executor());
        const auto found = resolver.async_resolve(set.host, set.port, fiber::use_fiber.on_cancel(resolver));
        asio::async_connect(socket, found, token);
    });
    socket.set_option(tcp::no_delay(true));
    if (SSL_set_tlsext_host_name(stream.native_handle(), set.name.c_str()) != 1) throw std::bad_alloc();
    stream.set_verify_mode(asio::ssl::verify_peer);
    stream.set_verify_callback(asio::ssl::host_name_verification(set.name));
    attempt("TLS handshake with", socket, set, [&](auto token) { stream.async_handshake(tls_stream::client, token); });
}

// Standard input blocks: a thread of the offload pool waits for it.
std::optional<std::string> next_input() {
    return fiber::to_thread([]() -> std::optional<std::string> {
        std::string line;
        if (!std::getline(std::cin, line)) return std::nullopt;
        return line + "\n";
    });
}

void talk(tls_stream& stream, const settings& set) {
    std::string received;
    while (const auto line = next_input()) {
        attempt("send to", stream.next_layer(), set,
                [&](auto token) { asio::async_write(stream, asio::buffer(*line), token); });
        const std::size_t size = attempt("receive from", stream.next_layer(), set, [&](auto token) {
            return asio::async_read_until(stream, asio::dynamic_buffer(received, longest_line), '\n', token);
        });
        std::fwrite(received.data(), 1, size, stdout);
        std::fflush(stdout);
        received.erase(0, size);
    }
    // A server that just closes has said enough.
    error_code error;
    fiber::with_timeout(set.patience,
                        [&] { stream.async_shutdown(fiber::use_fiber[error].on_cancel(stream.next_layer())); });
}

}  // namespace

int main(int argc, char** argv) {
    return example::program(usage, argc, argv, [](example::arguments& given) {
        const std::string authority = given.text("--ca", "");
        const std::string name = given.text("--name", "");
        const std::chrono::seconds patience(given.number("--patience", 15, 1, 3600));
        const std::vector<std::string> where = given.operands();
        if (where.size() != 2) throw example::wrong_usage("HOST and PORT are needed");
        const settings set{where[0], where[1], name.empty() ? where[0] : name, patience};
        asio::ssl::context tls(asio::ssl::context::tls_client);
        if (authority.empty()) {
            tls.set_default_verify_paths();
        } else {
            error_code error;
            tls.load_verify_file(authority, error);
            if (error) throw std::runtime_error("no certificate in PEM form can be read from " + authority);
        }
        return fiber::run([&] {
            fiber::asio_context context;
            tls_stream stream(context, tls);
            connect(stream, set);
            talk(stream, set);
            return 0;
        });
    });
}
