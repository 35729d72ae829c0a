// What the tests of sockets stand on: loopback, a pair of connected streams, and what a failure says.
#pragma once

#include <exception>
#include <string>
#include <system_error>

#include "fiber/net.hpp"

namespace fiber::test {

inline net::endpoint loopback(std::uint16_t port = 0) { return net::endpoint::ip("127.0.0.1", port); }

// Two connected streams.
struct connection {
    explicit connection(const net::socket_options& options = {}) : door(loopback(), options) {}

    net::listener door;
    net::stream far = net::connect(door.local());
    net::stream near = door.accept();
};

// The words of the E that f throws.
template <class E = std::system_error>
std::string what_of(auto&& f) {
    try {
        f();
    } catch (const E& error) {
        return error.what();
    } catch (const std::exception& error) {
        return std::string("another exception: ") + error.what();
    }
    return "nothing was thrown";
}

}  // namespace fiber::test
