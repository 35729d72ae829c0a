// For the downloader: what stands in a URL, and the head of an answer (RFC 9112), read from a stream within limits of
// size.
#pragma once

#include <fiber/net.hpp>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace http {

// What would be the same if it were tried again.
class permanent : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The parts of a http:// URL.
struct address {
    std::string host, target;
    std::uint16_t port = 80;
};

// Throws permanent.
inline address parse(const std::string& url) {
    if (!url.starts_with("http://")) throw permanent("not a http:// URL");
    const auto slash = std::min(url.find_first_of("/?#", 7), url.size());
    std::string_view place(url.data() + 7, slash - 7);
    address parts{.host = {}, .target = url.substr(slash, url.find('#', slash) - slash)};
    if (const auto colon = place.rfind(':'); colon != place.npos && !place.ends_with(']')) {
        const auto [end, error] = std::from_chars(place.data() + colon + 1, place.data() + place.size(), parts.port);
        if (error != std::errc() || end != place.data() + place.size()) throw permanent("no port number in the URL");
        place = place.substr(0, colon);
    }
    if (place.starts_with('[') && place.ends_with(']')) place = place.substr(1, place.size() - 2);
    if (place.empty() || url.find_first_of(" \t\r\n") != url.npos) throw permanent("not a URL");
    if (!parts.target.starts_with('/')) parts.target.insert(0, "/");
    parts.host = place;
    return parts;
}

struct head {
    int status = 0;
    std::string status_line;
    std::optional<std::uint64_t> length;
    bool chunked = false;
};

// The number at the beginning of the text.
inline std::uint64_t number(std::string_view text, int base) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end == text.data()) throw permanent("the server's answer makes no sense");
    return value;
}

// Cancellation point. Throws permanent, std::system_error.
inline head read_head(fiber::net::stream& server) {
    head got;
    std::string line = server.read_until("\r\n", 8192);
    if (!line.starts_with("HTTP/1.") || line.size() < 14) throw permanent("the server does not speak HTTP/1");
    got.status_line = line.substr(9, line.size() - 11);
    std::erase_if(got.status_line, [](unsigned char c) { return c < ' '; });  // it is going to be shown
    got.status = static_cast<int>(number(got.status_line, 10));
    for (int lines = 0; line != "\r\n"; ++lines) {
        if (lines == 1000) throw permanent("headers without an end");
        line = server.read_until("\r\n", 8192);
        const auto colon = std::min(line.find(':'), line.size() - 2);
        std::string name = line.substr(0, colon);
        for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        std::string value = line.substr(colon, line.size() - 2 - colon);
        value.erase(0, std::min(value.find_first_not_of(": \t"), value.size()));
        if (name == "content-length") got.length = number(value, 10);
        if (name == "transfer-encoding") got.chunked = value == "chunked";
    }
    return got;
}

}  // namespace http
