// The two ends of a pipe as streams of bytes: asyncio's connect_read_pipe and connect_write_pipe
// (https://docs.python.org/3/library/asyncio-eventloop.html#working-with-pipes). They serve any descriptor that can be
// read or written and waited for: FIFOs, terminals, character devices.
//
// Thread safety: as a descriptor's, with one reader at a time. Moving and destroying: alone.
#pragma once

#include <string>
#include <string_view>

#include "fiber/detail/read_buffer.hpp"
#include "fiber/io.hpp"

namespace fiber::io {

// Reads as net::stream does. All reads are cancellation points. Those with a std::error_code report there instead of
// throwing std::system_error, timeout_error, incomplete_read, limit_overrun. A read while another waits in
// read_exactly, read_until or read_all throws usage_error.
class pipe_reader {
 public:
    static constexpr std::size_t default_line = 64 * 1024;

    pipe_reader() noexcept = default;  // refers to nothing
    // `name`: what errors call it; if it is empty, its number.
    explicit pipe_reader(descriptor end, std::string name = {}) noexcept
        : end_(std::move(end)), name_(std::move(name)) {}

    bool is_open() const noexcept { return end_.is_open(); }
    int native_handle() const noexcept { return end_.native_handle(); }
    // What has been read from the descriptor and not yet from here.
    std::size_t buffered() const noexcept { return buffer_.size(); }

    // At least one byte, at most all that fit; 0: every writer has closed (or nothing fits).
    std::size_t read_some(mutable_bytes into, limit within = {});
    std::size_t read_some(mutable_bytes into, std::error_code& error, limit within = {});

    // All of it. The end before that: incomplete_read; with an error code errc::end_of_stream, and the count says how
    // much came. When the time is up, it is cancelled or fails otherwise, what came stays here.
    void read_exactly(mutable_bytes into, limit within = {});
    std::size_t read_exactly(mutable_bytes into, std::error_code& error, limit within = {});
    std::string read_exactly(std::size_t size, limit within = {});

    // Up to and with the delimiter, `most` bytes with it at most. At the end, or beyond the limit, nothing is lost:
    // what has come is in incomplete_read, or stays here. Throws invalid_option for an empty delimiter.
    std::string read_until(std::string_view delimiter, std::size_t most = default_line, limit within = {});
    void read_until(std::string& into, std::string_view delimiter, std::size_t most = default_line, limit within = {});
    void read_until(std::string& into, std::string_view delimiter, std::size_t most, std::error_code& error,
                    limit within = {});

    // Appends everything up to the end. More than `most` bytes: limit_overrun, and the rest stays here. Whatever
    // happens, `into` has what came.
    std::string read_all(std::size_t most = default_most, limit within = {});
    void read_all(std::string& into, std::size_t most, std::error_code& error, limit within = {});

    // Ends operations under way, and later ones, with errc::closed. Whoever writes to the pipe then gets EPIPE.
    void close() noexcept { end_.close(); }

 private:
    descriptor end_;
    std::string name_;
    fiber::detail::read_buffer buffer_;
};

// All writes are cancellation points, and wait while the pipe is full. Never SIGPIPE: without a reader it is EPIPE.
class pipe_writer {
 public:
    pipe_writer() noexcept = default;  // refers to nothing
    explicit pipe_writer(descriptor end, std::string name = {}) noexcept
        : end_(std::move(end)), name_(std::move(name)) {}

    bool is_open() const noexcept { return end_.is_open(); }
    int native_handle() const noexcept { return end_.native_handle(); }

    // At least one byte, at most all.
    std::size_t write_some(const_bytes from, limit within = {});
    std::size_t write_some(const_bytes from, std::error_code& error, limit within = {}) {
        return end_.write_some(from, error, within);
    }
    // All of it; returns how much went out, which with an error is less than all.
    void write_all(const_bytes from, limit within = {});
    std::size_t write_all(const_bytes from, std::error_code& error, limit within = {});

    // The reader sees the end after all that was written. Operations under way, and later ones, end with errc::closed.
    void close() noexcept { end_.close(); }

 private:
    descriptor end_;
    std::string name_;
};

struct pipe_ends {
    pipe_reader reader;
    pipe_writer writer;
};

// A pipe, not inherited by children. Throws std::system_error, std::bad_alloc.
pipe_ends pipe();

}  // namespace fiber::io
