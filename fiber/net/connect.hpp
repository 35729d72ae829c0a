// Names, and connections to them: loop.getaddrinfo and asyncio.open_connection. On a fiber.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fiber/net/stream.hpp"

namespace fiber::net {

// What getaddrinfo(3) says, as the code of a std::system_error.
const std::error_category& resolve_category() noexcept;

// The addresses of a name, in the order of preference (RFC 6724); numeric ones at once, names on a thread for blocking
// calls. Never empty. Cancellation point. Throws std::system_error that names host and cause, timeout_error; as
// to_thread() does; invalid_option for a name that is empty or has a zero byte. A look-up that is given up goes on on
// its thread.
std::vector<endpoint> resolve(std::string_view host, std::uint16_t port, io::limit within = {});

// Connects. Cancellation point. Throws std::system_error that names peer and cause, timeout_error, invalid_option (a
// negative size of a buffer).
stream connect(const endpoint& to, io::limit within = {}, const socket_options& options = {});

// Resolves and connects by happy eyeballs (RFC 8305): the addresses are tried in turn, families alternating, each a
// quarter of a second after the one before or as soon as that has failed; the first to succeed is kept, the others are
// given up. Throws what the first attempt failed of if all fail; as resolve() and connect().
stream connect(std::string_view host, std::uint16_t port, io::limit within = {}, const socket_options& options = {});

namespace detail {
// The race of it: the addresses in this order. Requires: there are some.
stream connect_to_first(const std::vector<endpoint>& all, const io::limit& within, const socket_options& options);
}  // namespace detail

}  // namespace fiber::net
