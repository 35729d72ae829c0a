// use_fiber in the forms in which Asio's functions take a token: overloads between which Asio chooses by what a token
// fits, tokens bound to an executor. Built twice, as asio_test.cpp.
// clang-format off
#include "fiber/asio.hpp"
#include <boost/asio.hpp>  // behind <utility>, which Boost 1.74's headers use without including it
// clang-format on

#include "tests/api/fixture.hpp"

using namespace fiber::test;
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

const tcp::endpoint loopback(asio::ip::make_address("127.0.0.1"), 0);

}  // namespace

// The story: accept into a socket did not compile. To rule out the overload with an executor in that place, Asio asked
// what the token would return for a socket whose executor is a socket; the answer was deduced from a function's body.
TEST_CASE("asio: every form of accept and connect takes use_fiber") {
    on_each_worker_count([] {
        fiber::asio_context context;
        tcp::acceptor acceptor(context, loopback);
        std::vector<tcp::socket> accepted;
        auto server = fiber::spawn([&] {
            tcp::endpoint peer;
            tcp::socket first(context);
            acceptor.async_accept(first, fiber::use_fiber);
            accepted.push_back(std::move(first));
            tcp::socket second(context);
            acceptor.async_accept(second, peer, fiber::use_fiber);
            CHECK(peer.address().is_loopback());
            accepted.push_back(std::move(second));
            accepted.push_back(acceptor.async_accept(fiber::use_fiber));
            accepted.push_back(acceptor.async_accept(context, fiber::use_fiber));
            accepted.push_back(acceptor.async_accept(peer, fiber::use_fiber));
        });
        tcp::socket clients[5]{tcp::socket(context), tcp::socket(context), tcp::socket(context), tcp::socket(context),
                               tcp::socket(context)};
        const std::string port = std::to_string(acceptor.local_endpoint().port());
        clients[0].async_connect(acceptor.local_endpoint(), fiber::use_fiber);
        tcp::resolver resolver(context);
        const auto found = resolver.async_resolve("127.0.0.1", port, fiber::use_fiber);
        CHECK(asio::async_connect(clients[1], found, fiber::use_fiber) == acceptor.local_endpoint());
        const std::vector<tcp::endpoint> endpoints{acceptor.local_endpoint()};
        CHECK(asio::async_connect(clients[2], endpoints.begin(), endpoints.end(), fiber::use_fiber) ==
              endpoints.begin());
        CHECK(asio::async_connect(
                  clients[3], endpoints, [](const error_code&, const tcp::endpoint&) { return true; },
                  fiber::use_fiber) == acceptor.local_endpoint());
        clients[4].async_connect(acceptor.local_endpoint(), fiber::use_fiber);
        server.get();
        CHECK(accepted.size() == 5);
        clients[0].async_wait(tcp::socket::wait_write, fiber::use_fiber);
        asio::streambuf read;
        asio::async_write(clients[0], asio::buffer("one\ntwo\n", 8), fiber::use_fiber);
        CHECK(asio::async_read_until(accepted[0], read, '\n', fiber::use_fiber) == 4);
    });
}

TEST_CASE("asio: a token that is bound to an executor") {
    on_each_worker_count([] {
        fiber::asio_context context;
        const auto strand = asio::make_strand(context);
        tcp::acceptor acceptor(context, loopback);
        tcp::socket near(context);
        auto connecting = fiber::spawn(
            [&] { near.async_connect(acceptor.local_endpoint(), asio::bind_executor(strand, fiber::use_fiber)); });
        tcp::socket far = acceptor.async_accept(asio::bind_executor(strand, fiber::use_fiber));
        connecting.get();

        error_code error = asio::error::fault;
        CHECK(asio::async_write(near, asio::buffer("four", 4), asio::bind_executor(strand, fiber::use_fiber[error])) ==
              4);
        CHECK_FALSE(error);
        char bytes[10];
        CHECK(asio::async_read(far, asio::buffer(bytes, 4),
                               asio::bind_executor(strand, asio::redirect_error(fiber::use_fiber, error))) == 4);
        far.shutdown(tcp::socket::shutdown_send);
        far.shutdown(tcp::socket::shutdown_receive);
        const auto write = [&](auto token) { return asio::async_write(far, asio::buffer("x", 1), token); };
        CHECK(write(asio::redirect_error(asio::bind_executor(strand, fiber::use_fiber), error)) == 0);
        CHECK(error == asio::error::broken_pipe);
        CHECK(write(asio::bind_executor(strand, asio::redirect_error(fiber::use_fiber, error))) == 0);
        CHECK_THROWS_AS(write(asio::bind_executor(strand, fiber::use_fiber)), boost::system::system_error);
        asio::post(asio::bind_executor(strand, fiber::use_fiber));
        asio::dispatch(asio::bind_executor(context, fiber::use_fiber));

        std::atomic<bool> on_strand{false};
        asio::steady_timer timer(context, 1h);
        auto waiting = fiber::spawn([&] {
            const auto end_it = [&] {
                on_strand = strand.running_in_this_thread();
                timer.cancel();
            };
            timer.async_wait(asio::bind_executor(strand, fiber::use_fiber.on_cancel(end_it)));
        });
        settle();
        CHECK(waiting.cancel());
        CHECK_THROWS_AS(waiting.get(), fiber::cancelled);
        CHECK(on_strand);
    });
}
