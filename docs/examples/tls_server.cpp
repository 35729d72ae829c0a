// A TLS server on Boost.Asio: what a client sends comes back, line by line.
//
// The handshake, too, has a limit. At the end the server says so in TLS (close_notify), and a client that does not
// answer is not waited for.
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>

#include "docs/examples/asio_sessions.hpp"
#include "docs/examples/program.hpp"

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using tls_stream = asio::ssl::stream<tcp::socket>;

namespace {

constexpr const char* usage =
    "usage: tls_server --certificate FILE --key FILE [--host ADDRESS] [--port PORT] [--patience SECONDS]\n"
    "  --certificate  the chain, in PEM form, the server's own first\n"
    "  --key          its private key, in PEM form\n"
    "  --host         numeric address to listen on (127.0.0.1)\n"
    "  --port         0: any free one; it is printed (8443)\n"
    "  --patience     for the handshake, and for each line (15)\n"
    "Try: openssl s_client -connect 127.0.0.1:8443\n";

constexpr std::size_t longest_line = 64 * 1024;

class session {
 public:
    session(tcp::socket socket, asio::ssl::context& tls, std::chrono::seconds patience)
        : stream_(std::move(socket), tls), patience_(patience) {}

    void serve(example::idleness& idle) {
        try {
            within_patience([&](auto token) { stream_.async_handshake(tls_stream::server, token); });
            std::string text;
            while (const std::size_t size = next_line(text, idle)) {
                within_patience(
                    [&](auto token) { asio::async_write(stream_, asio::buffer(text.data(), size), token); });
                text.erase(0, size);
            }
            say_goodbye();
        } catch (const fiber::timeout_error&) {
            // Too slow: the connection is just closed.
        } catch (const fiber::cancelled&) {
            fiber::uncancellable([&] { say_goodbye(); });
        } catch (const boost::system::system_error& error) {
            std::fprintf(stderr, "a connection failed: %s\n", error.what());
        }
    }

 private:
    // f(token): an operation that a limit or a cancellation ends at the socket below TLS.
    template <class F>
    void within_patience(F f) {
        fiber::with_timeout(patience_, [&] { f(fiber::use_fiber.on_cancel(stream_.next_layer())); });
    }

    // Its length, with the line's end. 0: no more.
    std::size_t next_line(std::string& text, example::idleness& idle) {
        std::size_t size = 0;
        error_code error;
        if (!idle.begin_idle()) return 0;
        fiber::with_timeout(patience_, [&] {
            size = asio::async_read_until(stream_, asio::dynamic_buffer(text, longest_line), '\n',
                                          fiber::use_fiber[error].on_cancel(stream_.next_layer()));
        });
        if (!idle.end_idle() || error == asio::error::eof) return 0;
        if (error) throw boost::system::system_error(error);
        return size;
    }

    // Not longer than a moment, for the other side has to answer. A task of its own can be cancelled also where this
    // one cannot; its destructor does that.
    void say_goodbye() {
        const auto farewell = fiber::spawn([this] {
            error_code error;
            stream_.async_shutdown(fiber::use_fiber[error].on_cancel(stream_.next_layer()));
        });
        (void)farewell.wait_for(std::chrono::seconds(1));
    }

    tls_stream stream_;
    const std::chrono::seconds patience_;
};

asio::ssl::context server_context(const std::string& certificate, const std::string& key) {
    asio::ssl::context made(asio::ssl::context::tls_server);
    made.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                     asio::ssl::context::no_tlsv1_1);
    error_code error;  // its text says nothing: OpenSSL keeps why to itself
    made.use_certificate_chain_file(certificate, error);
    if (error) throw std::runtime_error("no certificate in PEM form can be read from " + certificate);
    made.use_private_key_file(key, asio::ssl::context::pem, error);
    if (error) throw std::runtime_error("no key that belongs to the certificate can be read from " + key);
    return made;
}

}  // namespace

int main(int argc, char** argv) {
    return example::program(usage, argc, argv, [](example::arguments& given) {
        const std::string certificate = given.text("--certificate", "");
        const std::string key = given.text("--key", "");
        const std::string address = given.text("--host", "127.0.0.1");
        const auto port = static_cast<std::uint16_t>(given.number("--port", 8443, 0, 65535));
        const std::chrono::seconds patience(given.number("--patience", 15, 1, 3600));
        given.no_operands();
        if (certificate.empty() || key.empty()) throw example::wrong_usage("--certificate and --key are needed");
        asio::ssl::context tls = server_context(certificate, key);
        return fiber::run([&] {
            fiber::signals stop{SIGINT, SIGTERM};
            fiber::asio_context context;
            tcp::acceptor acceptor = example::listen_on(context, address, port);
            example::announce("listening on " + address + ":" + std::to_string(acceptor.local_endpoint().port()));
            auto accepting = fiber::spawn([&] {
                example::accept_all(acceptor, patience, [&tls, patience](tcp::socket socket, example::idleness& idle) {
                    session(std::move(socket), tls, patience).serve(idle);
                });
            });
            stop.wait();
            example::announce("stopping");
            accepting.cancel();
            accepting.wait();
            return 0;
        });
    });
}
