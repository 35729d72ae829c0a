// An HTTP server on Boost.Beast: its parsers and serializers, straight-line code on a fiber for each connection.
//
// Beast's asynchronous operations get fiber::use_fiber for a token, and so return what they would hand to a callback.
// Limits are the library's with_timeout: on_cancel says how an operation is ended.
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "docs/examples/asio_sessions.hpp"
#include "docs/examples/program.hpp"

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr const char* usage =
    "usage: beast_server [--host ADDRESS] [--port PORT] [--patience SECONDS]\n"
    "  --host      numeric address to listen on (127.0.0.1)\n"
    "  --port      0: any free one; it is printed (8080)\n"
    "  --patience  for a request to come, and for an answer to be taken (15)\n"
    "Routes: GET /hello, POST /echo. Try: curl http://127.0.0.1:8080/hello\n";

constexpr std::size_t largest_body = 1 << 20;

using request = http::request<http::string_body>;
using response = http::response<http::string_body>;

response make(const request& asked, http::status status, std::string body) {
    response made(status, asked.version());
    made.set(http::field::content_type, "text/plain");
    made.keep_alive(asked.keep_alive());
    made.body() = std::move(body);
    made.prepare_payload();
    return made;
}

response answer(request& asked) {
    const bool get = asked.method() == http::verb::get || asked.method() == http::verb::head;
    if (asked.target() == "/hello") {
        return get ? make(asked, http::status::ok, "hello\n")
                   : make(asked, http::status::method_not_allowed, "only GET\n");
    }
    if (asked.target() == "/echo") {
        return asked.method() == http::verb::post ? make(asked, http::status::ok, std::move(asked.body()))
                                                  : make(asked, http::status::method_not_allowed, "only POST\n");
    }
    return make(asked, http::status::not_found, "no such page\n");
}

// What a request that cannot be read is answered with.
response refusal(const error_code& error) {
    const request unread;
    response made = error == http::error::body_limit ? make(unread, http::status::payload_too_large, "too large\n")
                    : error == http::error::header_limit
                        ? make(unread, http::status::request_header_fields_too_large, "")
                        : make(unread, http::status::bad_request, error.message() + "\n");
    made.keep_alive(false);
    return made;
}

class session {
 public:
    session(tcp::socket socket, std::chrono::seconds patience) : socket_(std::move(socket)), patience_(patience) {}

    void serve(example::idleness& idle) {
        try {
            while (await_request(idle) && serve_one()) {
            }
            error_code error;
            socket_.shutdown(tcp::socket::shutdown_send, error);
        } catch (const fiber::timeout_error&) {
            // Too slow, in either direction: the connection is just closed.
        } catch (const boost::system::system_error&) {
            // The client has gone.
        }
    }

 private:
    // Between requests: here a stop of the server ends the connection.
    bool await_request(example::idleness& idle) {
        if (!idle.begin_idle()) return false;
        if (buffer_.size() == 0) {  // otherwise the next request has come already
            fiber::with_timeout(
                patience_, [&] { socket_.async_wait(tcp::socket::wait_read, fiber::use_fiber.on_cancel(socket_)); });
        }
        return idle.end_idle();
    }

    // false: the last one of this connection.
    bool serve_one() {
        http::request_parser<http::string_body> parser;
        parser.body_limit(largest_body);
        error_code error;
        fiber::with_timeout(
            patience_, [&] { http::async_read(socket_, buffer_, parser, fiber::use_fiber[error].on_cancel(socket_)); });
        if (error == http::error::end_of_stream) return false;
        if (error && error.category() != make_error_code(http::error::bad_method).category()) return false;
        const response made = error ? refusal(error) : answer_to(parser);
        write(made);
        return made.keep_alive();
    }

    response answer_to(http::request_parser<http::string_body>& parser) {
        request asked = parser.release();
        return answer(asked);
    }

    void write(const response& made) {
        fiber::with_timeout(patience_, [&] { http::async_write(socket_, made, fiber::use_fiber.on_cancel(socket_)); });
    }

    tcp::socket socket_;
    const std::chrono::seconds patience_;
    boost::beast::flat_buffer buffer_;
};

}  // namespace

int main(int argc, char** argv) {
    return example::program(usage, argc, argv, [](example::arguments& given) {
        const std::string address = given.text("--host", "127.0.0.1");
        const auto port = static_cast<std::uint16_t>(given.number("--port", 8080, 0, 65535));
        const std::chrono::seconds patience(given.number("--patience", 15, 1, 3600));
        given.no_operands();
        return fiber::run([&] {
            fiber::signals stop{SIGINT, SIGTERM};
            fiber::asio_context context;
            tcp::acceptor acceptor = example::listen_on(context, address, port);
            example::announce("listening on " + address + ":" + std::to_string(acceptor.local_endpoint().port()));
            auto accepting = fiber::spawn([&] {
                example::accept_all(acceptor, patience, [patience](tcp::socket socket, example::idleness& idle) {
                    session(std::move(socket), patience).serve(idle);
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
