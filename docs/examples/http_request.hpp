// For the HTTP server: reading a request (RFC 9112) from a stream, within limits of size and time.
#pragma once

#include <fiber/net.hpp>
#include <fiber/sleep.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace http {

constexpr std::size_t longest_line = 8 * 1024;
constexpr std::size_t longest_head = 32 * 1024;  // all header lines together
constexpr std::size_t largest_body = 1024 * 1024;

struct request {
    std::string method;
    std::string path;   // still with its %xx
    std::string query;  // behind the '?'
    std::string body;
    bool keep_alive = true;
};

// Thrown for what cannot be served. The connection ends behind an answer with this status: where the next request would
// begin is not known.
struct refusal {
    int status;
};

// How a request is read on its way into a `request`.
struct framing {
    std::optional<std::size_t> body_size;
    bool expects_continue = false;
    bool has_host = false;
    bool needs_host = true;  // not in HTTP/1.0
};

inline bool same(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; };
    return std::ranges::equal(a, b, {}, lower, lower);
}

inline std::string_view trimmed(std::string_view text) {
    const auto first = std::min(text.find_first_not_of(" \t"), text.size());
    return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

// Reads a line, and drops its end. false: the connection has ended, or nothing came in time. Throws refusal.
inline bool read_line(fiber::net::stream& peer, std::string& line, std::size_t most, int status_if_longer,
                      fiber::io::limit until) {
    std::error_code error;
    peer.read_until(line, "\n", most, error, until);
    if (error == fiber::io::errc::limit_overrun) throw refusal{status_if_longer};
    if (error == std::errc::timed_out && peer.buffered() != 0) throw refusal{408};
    line.resize(line.size() - (line.ends_with("\r\n") ? 2 : line.ends_with('\n') ? 1 : 0));
    return !error;
}

inline void understand_request_line(std::string_view line, request& into, framing& how) {
    const auto first = line.find(' ');
    const auto last = line.rfind(' ');
    if (first == 0 || first == std::string_view::npos || last == first) throw refusal{400};
    const std::string_view version = line.substr(last + 1);
    const std::string_view target = line.substr(first + 1, last - first - 1);
    if (!version.starts_with("HTTP/") || !target.starts_with('/') || target.find(' ') != target.npos)
        throw refusal{400};
    if (!version.starts_with("HTTP/1.")) throw refusal{505};
    into.method = line.substr(0, first);
    into.path = target.substr(0, target.find('?'));
    into.query = target.substr(std::min(into.path.size() + 1, target.size()));
    into.keep_alive = how.needs_host = version != "HTTP/1.0";
}

inline void understand_body_size(std::string_view value, framing& how) {
    std::size_t size = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), size);
    if (error == std::errc::result_out_of_range || size > largest_body) throw refusal{413};
    if (error != std::errc() || end != value.data() + value.size() || how.body_size) throw refusal{400};
    how.body_size = size;
}

inline void understand_header(std::string_view line, request& into, framing& how) {
    const auto colon = line.find(':');
    const std::string_view name = line.substr(0, colon);
    // A space before the colon, or a folded line, hides a header from one reader and shows it to the next.
    if (colon == line.npos || name.empty() || name.find_first_of(" \t") != name.npos) throw refusal{400};
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (same(name, "content-length")) {
        understand_body_size(value, how);
    } else if (same(name, "transfer-encoding")) {
        throw refusal{501};  // a length is all that we know
    } else if (same(name, "connection")) {
        into.keep_alive = same(value, "keep-alive") || (into.keep_alive && !same(value, "close"));
    } else if (same(name, "expect")) {
        how.expects_continue = same(value, "100-continue");
    } else if (same(name, "host")) {
        if (std::exchange(how.has_host, true)) throw refusal{400};
    }
}

// The rest of the request that begins with this line. None: the connection has ended in the middle. `until`: for its
// head; the body has as long again, `patience`. Cancellation point. Throws refusal, std::system_error.
inline std::optional<request> read_request(fiber::net::stream& peer, std::string line, fiber::io::limit until,
                                           std::chrono::seconds patience) {
    request got;
    framing how;
    understand_request_line(line, got, how);
    for (std::size_t room = longest_head;; room -= std::min(room - 1, line.size())) {
        if (!read_line(peer, line, room, 431, until)) return std::nullopt;
        if (line.empty()) break;
        understand_header(line, got, how);
    }
    if (how.needs_host && !how.has_host) throw refusal{400};
    if (how.expects_continue && how.body_size) peer.write_all("HTTP/1.1 100 Continue\r\n\r\n", patience);
    got.body.resize(how.body_size.value_or(0));
    std::error_code error;
    peer.read_exactly(got.body, error, patience);
    if (error == std::errc::timed_out) throw refusal{408};
    if (error) return std::nullopt;
    return got;
}

}  // namespace http
