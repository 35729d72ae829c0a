// What the servers in C++ do with the bytes that come in: the same work in each of them.
//   echo   gives them back.
//   hello  answers every complete HTTP request head (up to the blank line) with the same 200 response and keeps the
//          connection open. Requests may arrive in pieces or several at once. They have no body.
// One object per connection. Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bench {

// Read at a time. A request head that is longer than `longest_head` is refused.
constexpr std::size_t read_size = 4096, longest_head = 8192;

constexpr std::string_view hello_response =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

class echo {
 public:
    // What to send for what was received, valid until the next call on any connection of this thread.
    std::string_view answer(std::string_view received) noexcept { return received; }
    bool refused() const noexcept { return false; }
};

class hello {
 public:
    std::string_view answer(std::string_view received) {
        if (!begun_.empty()) return answer_joined(received);
        const std::size_t complete = count_heads(received, 0);
        if (last_end_ != received.size()) begun_ = received.substr(last_end_);
        return responses(complete);
    }
    // True once the peer has sent more than a request may have: the connection is to be closed.
    bool refused() const noexcept { return begun_.size() > longest_head; }

 private:
    static constexpr std::string_view blank_line = "\r\n\r\n";

    // How many heads end in `text` at or after `from`; leaves the end of the last one in last_end_.
    std::size_t count_heads(std::string_view text, std::size_t from) noexcept {
        std::size_t count = 0;
        last_end_ = 0;
        for (std::size_t at; (at = text.find(blank_line, from)) != text.npos; ++count)
            last_end_ = from = at + blank_line.size();
        return count;
    }

    std::string_view answer_joined(std::string_view received) {
        const std::size_t before = begun_.size();
        begun_ += received;
        // The blank line may have begun in what was there before.
        const std::size_t complete =
            count_heads(begun_, before < blank_line.size() ? 0 : before - blank_line.size() + 1);
        begun_.erase(0, last_end_);
        return responses(complete);
    }

    static std::string_view responses(std::size_t count) {
        if (count == 1) return hello_response;
        thread_local std::string several;
        several.clear();
        for (; count > 0; --count) several += hello_response;
        return several;
    }

    std::string begun_;  // a head whose end has not come yet: nearly always empty
    std::size_t last_end_ = 0;
};

}  // namespace bench
