#include "fiber/net/stream.hpp"

#include <algorithm>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/uio.h>

#include "fiber/detail/buffered_reads.hpp"
#include "fiber/detail/io_call.hpp"

namespace fiber::net {

using engine::io_direction;

namespace {

constexpr std::size_t most_pieces = 64;  // of one system call

// What has ended a connection the kernel says once, to whoever comes first, who reads or who writes. To one who reads later
// the stream would look complete: so it is kept. `outcome`: a system call's.
long lasting(engine::io_source& source, long outcome) noexcept {
    switch (-outcome) {
        case 0:
            return -source.kept_failure();
        case ECONNRESET:
        case ECONNABORTED:
        case ETIMEDOUT:
        case EHOSTUNREACH:
        case ENETUNREACH:
            source.keep_failure(static_cast<int>(-outcome));
            break;
        default:
            break;
    }
    return outcome;
}

}  // namespace

stream::stream(io::descriptor connected) : socket_(std::move(connected)) {
    peer_ = detail::peer_of(socket_.native_handle());
}

stream::stream(io::descriptor connected, const endpoint& peer) : socket_(std::move(connected)), peer_(peer) {}

void stream::fail(const std::error_code& error, const char* operation) const { detail::fail(error, operation, peer_); }

// --- reading ---

namespace {

auto reads(engine::io_source* source, fiber::detail::read_buffer& buffer, std::error_code& error,
           const io::limit& within) noexcept {
    const auto receive = [source](int fd, void* into, std::size_t size) noexcept {
        const long outcome = fiber::detail::receive_now(fd, into, size, 0);
        return outcome > 0 ? outcome : lasting(*source, outcome);
    };
    return fiber::detail::buffered_reads<decltype(receive)>{source, buffer, within.deadline(), error, receive};
}

}  // namespace

std::size_t stream::read_some(io::mutable_bytes into, std::error_code& error, io::limit within) {
    return reads(source(), buffer_, error, within).some(into);
}

std::size_t stream::read_some(io::mutable_bytes into, io::limit within) {
    std::error_code error;
    const std::size_t count = read_some(into, error, within);
    if (error) fail(error, "read from");
    return count;
}

std::size_t stream::read_exactly(io::mutable_bytes into, std::error_code& error, io::limit within) {
    return reads(source(), buffer_, error, within).exactly(into);
}

void stream::read_exactly(io::mutable_bytes into, io::limit within) {
    std::error_code error;
    const std::size_t done = read_exactly(into, error, within);
    if (error) fiber::detail::throw_exactly_failure(error, peer_.to_string(), into, done);
}

std::string stream::read_exactly(std::size_t size, io::limit within) {
    std::string all(size, '\0');
    read_exactly(all, within);
    return all;
}

void stream::read_until(std::string& into, std::string_view delimiter, std::size_t most, std::error_code& error,
                        io::limit within) {
    reads(source(), buffer_, error, within).until(into, delimiter, most);
}

void stream::read_until(std::string& into, std::string_view delimiter, std::size_t most, io::limit within) {
    std::error_code error;
    read_until(into, delimiter, most, error, within);
    if (error) fiber::detail::throw_until_failure(error, peer_.to_string(), into, most);
}

std::string stream::read_until(std::string_view delimiter, std::size_t most, io::limit within) {
    std::string line;
    read_until(line, delimiter, most, within);
    return line;
}

void stream::read_all(std::string& into, std::size_t most, std::error_code& error, io::limit within) {
    reads(source(), buffer_, error, within).all(into, most);
}

std::string stream::read_all(std::size_t most, io::limit within) {
    std::string all;
    std::error_code error;
    read_all(all, most, error, within);
    if (error) fiber::detail::throw_all_failure(error, peer_.to_string(), most);
    return all;
}

// --- writing ---

namespace {

// `send`: fd -> count, or -errno. What was sent; 0 and `error`.
template <class Send>
std::size_t write_once(engine::io_source* to, std::error_code& error, const io::limit& within, Send send) {
    if (to == nullptr) return fiber::detail::settled(fiber::detail::was_closed, error);
    const long outcome = fiber::detail::perform(*to, io_direction::write, within.deadline(), send);
    return fiber::detail::settled(outcome >= 0 ? outcome : lasting(*to, outcome), error);
}

}  // namespace

std::size_t stream::write_some(io::const_bytes from, std::error_code& error, io::limit within) {
    return write_once(source(), error, within,
                      [from](int fd) noexcept { return fiber::detail::send_now(fd, from.data, from.size, 0); });
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
        std::size_t sent = write_once(source(), error, within, [&message](int fd) noexcept {
            return fiber::detail::send_message_now(fd, message, 0);
        });
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
    const long outcome = fiber::detail::call_now(source(), fiber::detail::shut_down_now);
    if (outcome < 0 && outcome != -ENOTCONN) fail(fiber::detail::error_of(outcome), "shut down");
}

void stream::reset() noexcept {
    constexpr linger at_once{1, 0};
    (void)fiber::detail::call_now(source(), [&](int fd) noexcept {
        return fiber::detail::set_option_now(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    });
    close();
}

void stream::set(int level, int option, bool on) {
    const int value = on ? 1 : 0;
    const long outcome = fiber::detail::call_now(source(), [&](int fd) noexcept {
        return fiber::detail::set_option_now(fd, level, option, &value, sizeof value);
    });
    if (outcome < 0) fail(fiber::detail::error_of(outcome), "set an option of");
}

void stream::no_delay(bool on) { set(IPPROTO_TCP, TCP_NODELAY, on); }
void stream::keep_alive(bool on) { set(SOL_SOCKET, SO_KEEPALIVE, on); }

}  // namespace fiber::net
