// Reads of a byte stream through a read_buffer: sockets and pipes read alike, but for the system call.
// Not for users: only .cpp files include it. One fiber or thread at a time: one that comes while another waits for what
// will go through the buffer gets usage_error.
//
// All are cancellation points and report into `error`, which is clear when they succeed. `Receive`: (fd, memory, size)
// -> count, 0 at the end, or -errno.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "fiber/detail/io_call.hpp"
#include "fiber/detail/read_buffer.hpp"
#include "fiber/error.hpp"
#include "fiber/io.hpp"

namespace fiber::detail {

template <class Receive>
struct buffered_reads {
    engine::io_source* source;  // nullptr: errc::closed
    read_buffer& buffer;
    engine::nanos deadline;
    std::error_code& error;
    Receive receive;

    // At least one byte, at most all that fit; 0: the end, an error, or nothing fits.
    std::size_t some(io::mutable_bytes into) {
        if (buffer.is_lent()) [[unlikely]]
            throw_two_at_once();
        return some_of_mine(into);
    }

    // All of it, or less at the end. Whatever else ends it, what came stands in the buffer: nothing is lost when the
    // time is up. What fits into a small buffer is taken out of it only when all is there; more goes straight to where
    // it is wanted.
    std::size_t exactly(io::mutable_bytes into) {
        const borrowed mine(*this);
        error.clear();
        while (into.size <= read_buffer::small && buffer.size() < into.size) {
            if (fill(into.size)) continue;
            if (error) return 0;
            error = io::errc::end_of_stream;
            return buffer.take(into.data, into.size);
        }
        std::size_t done = 0;
        try {
            for (std::size_t count = 1; count != 0 && done < into.size; done += count) {
                count = some_of_mine(io::mutable_bytes(static_cast<char*>(into.data) + done, into.size - done));
            }
        } catch (...) {
            put_back(into.data, done);
            throw;
        }
        if (done == into.size) return done;
        if (error) {
            put_back(into.data, done);
            return 0;
        }
        error = io::errc::end_of_stream;
        return done;
    }

    // Up to and with the delimiter. At the end `into` has what came. Throws invalid_option.
    void until(std::string& into, std::string_view delimiter, std::size_t most) {
        if (delimiter.empty()) throw invalid_option("fiber: read_until(): the delimiter is empty");
        const borrowed mine(*this);
        into.clear();
        error.clear();
        std::size_t looked_at = 0;
        for (;;) {
            const std::string_view there = buffer.bytes();
            const std::size_t at = there.substr(0, most).find(delimiter, looked_at);
            if (at != std::string_view::npos) {
                into.assign(there.substr(0, at + delimiter.size()));
                return buffer.consume(at + delimiter.size());
            }
            const std::size_t size = there.size();
            if (size >= most) {
                error = io::errc::limit_overrun;
                return;
            }
            looked_at = size >= delimiter.size() ? size - delimiter.size() + 1 : 0;
            if (fill(size < buffer.capacity() ? size + 1 : std::max(size + 1, std::min(size * 2, most)))) continue;
            if (error) return;
            error = io::errc::end_of_stream;
            into.assign(buffer.bytes());
            return buffer.consume(buffer.size());
        }
    }

    // Appends everything up to the end, `most` bytes at most: more is errc::limit_overrun, and stays in the stream.
    // Whatever happens, `into` has what came, also when `cancelled` is thrown.
    void all(std::string& into, std::size_t most) {
        constexpr std::size_t largest_step = 256 * 1024;
        const borrowed mine(*this);
        error.clear();
        for (std::size_t step = read_buffer::small; most != 0; step = std::min(step * 2, largest_step)) {
            const std::size_t before = into.size();
            const std::size_t room = std::min(step, most);
            const trimmed_string grown{into, before};
            into.resize(before + room);
            const std::size_t count = some_of_mine(io::mutable_bytes(into.data() + before, room));
            grown.size += count;
            if (count == 0) return;
            most -= count;
        }
        if (buffer.size() != 0 || fill(1)) error = io::errc::limit_overrun;
    }

 private:
    struct borrowed {
        explicit borrowed(buffered_reads& of) : buffer(of.buffer) {
            if (buffer.is_lent()) [[unlikely]]
                of.throw_two_at_once();
            buffer.lend();
        }
        ~borrowed() { buffer.take_home(); }
        read_buffer& buffer;
    };

    // Cuts a string to what has been written, however the scope is left.
    struct trimmed_string {
        ~trimmed_string() { text.resize(size); }
        std::string& text;
        mutable std::size_t size;
    };

    [[noreturn]] void throw_two_at_once() const {
        throw usage_error("fiber: read from descriptor " + std::to_string(source != nullptr ? source->fd() : -1) +
                          " while another read of this stream is under way: one at a time");
    }

    std::size_t some_of_mine(io::mutable_bytes into) {
        if (buffer.size() == 0) [[likely]]
            return receive_into(into.data, into.size);
        error.clear();
        return buffer.take(into.data, into.size);
    }

    // Requires: the buffer is empty, as after any read that went to the kernel. Throws std::bad_alloc.
    void put_back(const void* from, std::size_t count) {
        if (count == 0) return;
        buffer.reserve(count);
        std::memcpy(buffer.room(), from, count);
        buffer.add(count);
    }

    // Reads once, behind what is there; makes room for `wanted` bytes in all. false: the end, or `error`.
    bool fill(std::size_t wanted) {
        buffer.reserve(wanted);
        const std::size_t count = receive_into(buffer.room(), buffer.room_size());
        buffer.add(count);
        return count != 0;
    }

    std::size_t receive_into(void* into, std::size_t size) {
        if (source == nullptr) return settled(was_closed, error);
        if (size == 0) return settled(0, error);
        return settled(perform_read(*source, size, deadline, [&](int fd) { return receive(fd, into, size); }), error);
    }
};

// What the overloads that throw make of an error. `where`: "127.0.0.1:80", "descriptor 5".
[[noreturn]] void throw_exactly_failure(const std::error_code& error, const std::string& where, io::mutable_bytes into,
                                        std::size_t came);
[[noreturn]] void throw_until_failure(const std::error_code& error, const std::string& where,
                                      const std::string& partial, std::size_t most);
[[noreturn]] void throw_all_failure(const std::error_code& error, const std::string& where, std::size_t most);

}  // namespace fiber::detail
