#include "fiber/net/stream.hpp"

#include <algorithm>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/uio.h>

#include "fiber/detail/io_call.hpp"
#include "fiber/error.hpp"

namespace fiber::net {

using engine::io_direction;

namespace {

constexpr std::size_t small_buffer = 4096;  // kept while a connection is idle; a larger one is given back
constexpr std::size_t most_pieces = 64;     // of one system call

std::size_t settled(long outcome, std::error_code& error) noexcept {
    error.clear();
    if (outcome >= 0) return static_cast<std::size_t>(outcome);
    error = fiber::detail::error_of(outcome);
    return 0;
}

}  // namespace

stream::stream(io::descriptor connected) : socket_(std::move(connected)) {
    peer_ = detail::peer_of(socket_.native_handle());
}

stream::stream(io::descriptor connected, const endpoint& peer) : socket_(std::move(connected)), peer_(peer) {}

void stream::fail(const std::error_code& error, const char* operation) const { detail::fail(error, operation, peer_); }

// --- reading ---

std::size_t stream::read_some(io::mutable_bytes into, std::error_code& error, io::limit within) {
    error.clear();
    if (const std::size_t there = std::min(buffered(), into.size)) {
        std::memcpy(into.data, buffer_.get() + begin_, there);
        consume(there);
        return there;
    }
    if (source() == nullptr) return settled(fiber::detail::was_closed, error);
    if (into.size == 0) return 0;
    return settled(
        fiber::detail::perform_read(*source(), into.size, within.deadline(),
                                    [&](int fd) { return fiber::detail::receive_now(fd, into.data, into.size, 0); }),
        error);
}

std::size_t stream::read_some(io::mutable_bytes into, io::limit within) {
    std::error_code error;
    const std::size_t count = read_some(into, error, within);
    if (error) fail(error, "read from");
    return count;
}

// Reads once, behind what is there; makes room for `wanted` bytes in all. false: the end, or `error`.
bool stream::fill(std::size_t wanted, std::error_code& error, const io::limit& within) {
    error.clear();
    if (capacity_ - begin_ < wanted) {
        const std::size_t needed = std::max(wanted, small_buffer);
        if (capacity_ < needed) {
            std::unique_ptr<char[]> larger(new char[needed]);
            if (end_ != begin_) std::memcpy(larger.get(), buffer_.get() + begin_, buffered());
            buffer_ = std::move(larger);
            capacity_ = needed;
        } else {
            std::memmove(buffer_.get(), buffer_.get() + begin_, buffered());
        }
        end_ -= begin_;
        begin_ = 0;
    }
    if (source() == nullptr) {
        error = io::errc::closed;
        return false;
    }
    const std::size_t room = capacity_ - end_;
    const long outcome = fiber::detail::perform_read(*source(), room, within.deadline(), [&](int fd) {
        return fiber::detail::receive_now(fd, buffer_.get() + end_, room, 0);
    });
    end_ += settled(outcome, error);
    return outcome > 0;
}

void stream::consume(std::size_t count) noexcept {
    begin_ += count;
    if (begin_ != end_) return;
    begin_ = end_ = 0;
    if (capacity_ > small_buffer) {
        buffer_.reset();
        capacity_ = 0;
    }
}

std::size_t stream::read_exactly(io::mutable_bytes into, std::error_code& error, io::limit within) {
    error.clear();
    std::size_t done = 0;
    auto* to = static_cast<char*>(into.data);
    // What fits into the buffer is taken out of it only when all is there: nothing is lost if the time is up.
    while (into.size <= small_buffer && buffered() < into.size) {
        if (fill(into.size, error, within)) continue;
        if (error) return 0;
        error = io::errc::end_of_stream;
        done = buffered();
        if (done != 0) std::memcpy(to, buffer_.get() + begin_, done);
        consume(done);
        return done;
    }
    while (done < into.size) {
        const std::size_t count = read_some(io::mutable_bytes(to + done, into.size - done), error, within);
        if (error) return done;
        if (count == 0) {
            error = io::errc::end_of_stream;
            return done;
        }
        done += count;
    }
    return done;
}

void stream::read_exactly(io::mutable_bytes into, io::limit within) {
    std::error_code error;
    const std::size_t done = read_exactly(into, error, within);
    if (error == io::errc::end_of_stream) {
        throw incomplete_read("fiber: read " + std::to_string(into.size) + " bytes from " + peer_.to_string() + ": " +
                                  std::to_string(done) + " came",
                              std::string(static_cast<const char*>(into.data), done));
    }
    if (error) fail(error, "read from");
}

std::string stream::read_exactly(std::size_t size, io::limit within) {
    std::string all(size, '\0');
    read_exactly(all, within);
    return all;
}

void stream::read_until(std::string& into, std::string_view delimiter, std::size_t most, std::error_code& error,
                        io::limit within) {
    if (delimiter.empty()) throw invalid_option("fiber: stream::read_until(): the delimiter is empty");
    into.clear();
    error.clear();
    std::size_t looked_at = 0;
    for (;;) {
        const std::string_view there(buffer_.get() + begin_, buffered());
        const std::size_t at = there.substr(0, most).find(delimiter, looked_at);
        if (at != std::string_view::npos) {
            into.assign(there.substr(0, at + delimiter.size()));
            return consume(at + delimiter.size());
        }
        if (there.size() >= most) {
            error = io::errc::limit_overrun;
            return;
        }
        looked_at = there.size() >= delimiter.size() ? there.size() - delimiter.size() + 1 : 0;
        const std::size_t size = there.size();
        const std::size_t more = size < capacity_ ? size + 1 : std::max(size + 1, std::min(size * 2, most));
        if (fill(more, error, within)) continue;
        if (!error) {
            error = io::errc::end_of_stream;
            into.assign(buffer_.get() + begin_, buffered());
            consume(buffered());
        }
        return;
    }
}

void stream::read_until(std::string& into, std::string_view delimiter, std::size_t most, io::limit within) {
    std::error_code error;
    read_until(into, delimiter, most, error, within);
    if (!error) return;
    if (error == io::errc::end_of_stream) {
        throw incomplete_read("fiber: read until a delimiter from " + peer_.to_string(), into);
    }
    if (error == io::errc::limit_overrun) {
        throw limit_overrun("fiber: read until a delimiter from " + peer_.to_string() + ", at most " +
                            std::to_string(most) + " bytes");
    }
    fail(error, "read from");
}

std::string stream::read_until(std::string_view delimiter, std::size_t most, io::limit within) {
    std::string line;
    read_until(line, delimiter, most, within);
    return line;
}

// --- writing ---

std::size_t stream::write_some(io::const_bytes from, std::error_code& error, io::limit within) {
    if (source() == nullptr) return settled(fiber::detail::was_closed, error);
    return settled(fiber::detail::perform(*source(), io_direction::write, within.deadline(),
                                          [&](int fd) { return fiber::detail::send_now(fd, from.data, from.size, 0); }),
                   error);
}

std::size_t stream::write_some(io::const_bytes from, io::limit within) {
    std::error_code error;
    const std::size_t count = write_some(from, error, within);
    if (error) fail(error, "write to");
    return count;
}

std::size_t stream::write_all(io::const_bytes from, std::error_code& error, io::limit within) {
    error.clear();
    std::size_t done = 0;
    while (done < from.size && !error) {
        const auto* rest = static_cast<const char*>(from.data) + done;
        done += write_some(io::const_bytes(rest, from.size - done), error, within);
    }
    return done;
}

void stream::write_all(io::const_bytes from, io::limit within) {
    std::error_code error;
    (void)write_all(from, error, within);
    if (error) fail(error, "write to");
}

std::size_t stream::write_all(const io::const_bytes* pieces, std::size_t count, std::error_code& error,
                              io::limit within) {
    error.clear();
    std::size_t total = 0;
    std::size_t skip = 0;  // of the first piece
    while (count != 0) {
        iovec parts[most_pieces];
        const std::size_t used = std::min(count, most_pieces);
        for (std::size_t i = 0; i < used; ++i) {
            const std::size_t gone = i == 0 ? skip : 0;
            parts[i] = {const_cast<char*>(static_cast<const char*>(pieces[i].data)) + gone, pieces[i].size - gone};
        }
        msghdr message{};
        message.msg_iov = parts;
        message.msg_iovlen = used;
        if (source() == nullptr) return settled(fiber::detail::was_closed, error);
        std::size_t sent =
            settled(fiber::detail::perform(*source(), io_direction::write, within.deadline(),
                                           [&](int fd) { return fiber::detail::send_message_now(fd, message, 0); }),
                    error);
        if (error) return total;
        total += sent;
        sent += skip;
        while (count != 0 && sent >= pieces->size) {
            sent -= pieces->size;
            ++pieces;
            --count;
        }
        skip = sent;
    }
    return total;
}

void stream::write_all(const io::const_bytes* pieces, std::size_t count, io::limit within) {
    std::error_code error;
    (void)write_all(pieces, count, error, within);
    if (error) fail(error, "write to");
}

// --- ends and options ---

void stream::shutdown() {
    const int fd = native_handle();
    if (fd < 0) fail(io::errc::closed, "shut down");
    if (::shutdown(fd, SHUT_WR) != 0 && errno != ENOTCONN) {
        fail(std::error_code(errno, std::generic_category()), "shut down");
    }
}

void stream::reset() noexcept {
    constexpr linger at_once{1, 0};
    const int fd = native_handle();
    if (fd >= 0) (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
}

void stream::set(int level, int option, bool on) {
    const int value = on ? 1 : 0;
    if (::setsockopt(native_handle(), level, option, &value, sizeof value) != 0) {
        fail(std::error_code(errno, std::generic_category()), "set an option of");
    }
}

void stream::no_delay(bool on) { set(IPPROTO_TCP, TCP_NODELAY, on); }
void stream::keep_alive(bool on) { set(SOL_SOCKET, SO_KEEPALIVE, on); }

}  // namespace fiber::net
