// A connected stream of bytes, TCP or Unix: asyncio's StreamReader and StreamWriter in one
// (https://docs.python.org/3/library/asyncio-stream.html).
//
// Reads are buffered where a delimiter or a count is looked for; read_some() goes straight into the caller's memory.
// Writes are not: a write that the peer does not take parks, which is the back-pressure (asyncio's drain()).
//
// Thread safety: one fiber or thread may read while another writes and a third closes. Moving and destroying: alone.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "fiber/detail/read_buffer.hpp"
#include "fiber/io.hpp"
#include "fiber/net/endpoint.hpp"

namespace fiber::net {

using io::incomplete_read;
using io::limit_overrun;

class stream {
 public:
    static constexpr std::size_t default_line = 64 * 1024;  // asyncio's limit

    stream() noexcept = default;  // refers to nothing
    // Takes over a connected socket. Throws std::bad_alloc.
    explicit stream(io::descriptor connected);
    stream(io::descriptor connected, const endpoint& peer);
    stream(stream&&) noexcept = default;
    stream& operator=(stream&&) noexcept = default;
    ~stream() = default;

    // Both ends; of one that is closed the peer as it was, an empty local endpoint, and the number -1. Never wait.
    bool is_open() const noexcept { return socket_.is_open(); }
    const endpoint& peer() const noexcept { return peer_; }
    endpoint local() const noexcept { return detail::local_of(socket_.native_handle()); }
    int native_handle() const noexcept { return socket_.native_handle(); }

    // All reads and writes are cancellation points. Those with a std::error_code report there instead of throwing
    // std::system_error (whose what() names operation, peer and cause), timeout_error, incomplete_read, limit_overrun.
    // A read while another waits in read_exactly, read_until or read_all throws usage_error.

    // At least one byte, at most all that fit; 0: the end (or nothing fits). Of a connection that was reset there is no
    // end: every read that comes too late says so, also when a write has heard of it first.
    std::size_t read_some(io::mutable_bytes into, io::limit within = {});
    std::size_t read_some(io::mutable_bytes into, std::error_code& error, io::limit within = {});

    // All of it. The end before that: incomplete_read; with an error code errc::end_of_stream, and the count says how
    // much came. When the time is up, it is cancelled or fails otherwise, what came stays in the stream.
    void read_exactly(io::mutable_bytes into, io::limit within = {});
    std::size_t read_exactly(io::mutable_bytes into, std::error_code& error, io::limit within = {});
    std::string read_exactly(std::size_t size, io::limit within = {});

    // Up to and with the delimiter, `most` bytes with it at most. At the end, or beyond the limit, nothing is lost:
    // what has come is in incomplete_read, or stays in the stream. `into` keeps its memory from call to call. Throws
    // invalid_option for an empty delimiter.
    std::string read_until(std::string_view delimiter, std::size_t most = default_line, io::limit within = {});
    void read_until(std::string& into, std::string_view delimiter, std::size_t most = default_line,
                    io::limit within = {});
    void read_until(std::string& into, std::string_view delimiter, std::size_t most, std::error_code& error,
                    io::limit within = {});

    // Appends everything up to the end. More than `most` bytes: limit_overrun, and the rest stays in the stream.
    // Whatever happens, `into` has what came.
    void read_all(std::string& into, std::size_t most, std::error_code& error, io::limit within = {});
    std::string read_all(std::size_t most = io::default_most, io::limit within = {});

    // What has been read from the socket and not yet from the stream.
    std::size_t buffered() const noexcept { return buffer_.size(); }

    // At least one byte, at most all. Never SIGPIPE.
    std::size_t write_some(io::const_bytes from, io::limit within = {});
    std::size_t write_some(io::const_bytes from, std::error_code& error, io::limit within = {});
    std::size_t write(io::const_bytes from, io::limit within = {}) { return write_some(from, within); }
    std::size_t write(io::const_bytes from, std::error_code& error, io::limit within = {}) {
        return write_some(from, error, within);
    }
    // All of it; returns how much went out, which with an error is less than all.
    void write_all(io::const_bytes from, io::limit within = {});
    std::size_t write_all(io::const_bytes from, std::error_code& error, io::limit within = {});
    // Several pieces, in one system call if the peer takes them.
    void write_all(const io::const_bytes* pieces, std::size_t count, io::limit within = {});
    std::size_t write_all(const io::const_bytes* pieces, std::size_t count, std::error_code& error,
                          io::limit within = {});

    // Sends the end: the peer reads it after all that was written; reading goes on. Throws std::system_error.
    void shutdown();
    // Ends operations under way, and later ones, with errc::closed. Never throws.
    void close() noexcept { socket_.close(); }
    // Closes with a reset instead of an end. Never throws.
    void reset() noexcept;

    // Throw std::system_error.
    void no_delay(bool on);
    void keep_alive(bool on);

 private:
    engine::io_source* source() const noexcept { return socket_.source(); }
    void set(int level, int option, bool on);
    [[noreturn]] void fail(const std::error_code& error, const char* operation) const;

    io::descriptor socket_;
    endpoint peer_;
    fiber::detail::read_buffer buffer_;  // the reader's
};

}  // namespace fiber::net
