// Waiting for descriptors: asyncio's loop.add_reader and add_writer
// (https://docs.python.org/3/library/asyncio-eventloop.html#watching-file-descriptors), and the ground that sockets
// stand on.
//
// Whoever waits parks; one worker waits in the kernel for all of them. What can be waited for: sockets, pipes,
// terminals, eventfds, pidfds, timerfds and whatever else poll(2) knows; files and directories are always ready.
//
// Thread safety: the free functions from any fiber and plain thread; descriptor as its class says.
#pragma once

#include <cstddef>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include "fiber/duration.hpp"
#include "fiber/io_error.hpp"

namespace fiber {

namespace engine {
class io_source;
enum class short_read : bool;
}  // namespace engine

namespace io {

// How long an operation may take: a duration from now, a time point, or std::nullopt (without end). When the time is up
// it throws timeout_error, or sets std::errc::timed_out. Throws std::invalid_argument for NaN.
class limit {
 public:
    constexpr limit() noexcept = default;
    template <detail::limits_time L>
    limit(const L& when) : deadline_(detail::limit_of(when).deadline) {}

    engine::nanos deadline() const noexcept { return deadline_; }  // for the library's own algorithms

 private:
    engine::nanos deadline_ = engine::never;
};

// What reads up to the end take at most, unless they are told otherwise.
inline constexpr std::size_t default_most = 64 * 1024 * 1024;

// Where to read to, and what to write: anything contiguous and trivially copyable, or a pointer and a size in bytes.
struct mutable_bytes {
    void* data = nullptr;
    std::size_t size = 0;

    constexpr mutable_bytes() noexcept = default;
    constexpr mutable_bytes(void* start, std::size_t length) noexcept : data(start), size(length) {}
    template <class Range>
    requires requires(Range& range) {
        range.data();
        range.size();
        requires std::is_trivially_copyable_v<std::remove_reference_t<decltype(*range.data())>>;
        requires !std::is_const_v<std::remove_reference_t<decltype(*range.data())>>;
    }
    constexpr mutable_bytes(Range&& range) noexcept : data(range.data()), size(range.size() * sizeof(*range.data())) {}
    template <class T, std::size_t n>
    constexpr mutable_bytes(T (&array)[n]) noexcept : data(array), size(sizeof array) {}
};

struct const_bytes {
    const void* data = nullptr;
    std::size_t size = 0;

    constexpr const_bytes() noexcept = default;
    constexpr const_bytes(const void* start, std::size_t length) noexcept : data(start), size(length) {}
    constexpr const_bytes(const char* text) noexcept : const_bytes(std::string_view(text)) {}
    template <class Range>
    requires requires(const Range& range) {
        range.data();
        range.size();
        requires std::is_trivially_copyable_v<std::remove_reference_t<decltype(*range.data())>>;
    }
    constexpr const_bytes(const Range& range) noexcept
        : data(range.data()), size(range.size() * sizeof(*range.data())) {}
    constexpr const_bytes(mutable_bytes other) noexcept : data(other.data), size(other.size) {}
};

// Parks until an operation on the descriptor would not block, or until it has failed or the other side has closed: an
// operation then says so. A fiber or a plain thread, on any descriptor that the caller keeps open meanwhile: closing it
// while someone waits here leaves him waiting. Two or three system calls for each wait that has to wait; a
// descriptor (below) needs none but the look. Any number of fibers may wait for one descriptor.
// Throws std::system_error: EBADF, or when the kernel cannot watch it. Cancellation point: throws `cancelled`.
void wait_readable(int fd);
void wait_writable(int fd);

class descriptor;

namespace detail {
// As descriptor's constructor, but closes the number if it throws.
descriptor own(int fd);
descriptor own(int fd, engine::short_read means);
[[nodiscard]] bool wait_readable_until(int fd, engine::nanos deadline);
[[nodiscard]] bool wait_writable_until(int fd, engine::nanos deadline);
}  // namespace detail

// The same for at most `length`; zero or less only looks. false: the time is up. Throws std::invalid_argument for NaN.
template <class Rep, class Period>
[[nodiscard]] bool wait_readable_for(int fd, const std::chrono::duration<Rep, Period>& length) {
    return detail::wait_readable_until(fd, fiber::detail::deadline_after(length));
}
template <class Clock, class Duration>
[[nodiscard]] bool wait_readable_until(int fd, const std::chrono::time_point<Clock, Duration>& when) {
    return detail::wait_readable_until(fd, fiber::detail::deadline_at(when));
}
template <class Rep, class Period>
[[nodiscard]] bool wait_writable_for(int fd, const std::chrono::duration<Rep, Period>& length) {
    return detail::wait_writable_until(fd, fiber::detail::deadline_after(length));
}
template <class Clock, class Duration>
[[nodiscard]] bool wait_writable_until(int fd, const std::chrono::time_point<Clock, Duration>& when) {
    return detail::wait_writable_until(fd, fiber::detail::deadline_at(when));
}

// An open descriptor and its owner. Non-blocking; watched by the runtime from the first wait on, so that a wait costs
// no system call. Move-only; the destructor closes.
//
// Operations try first and wait second. One that is given a std::error_code reports there what others throw, but
// `cancelled` is thrown always. Zero bytes from a read: the end.
//
// Thread safety: one fiber or thread may read while another writes and a third closes; several may read, or write, and
// each gets a part. close() wakes all of them with errc::closed; the number is given back when the last has left.
// Moving and destroying: alone. Runtimes may use it in turn, and at once, though at a cost: it is watched by the one where
// it was waited for last, whose workers also wake those who wait elsewhere.
class descriptor {
 public:
    descriptor() noexcept = default;  // refers to nothing: every operation says errc::closed
    // Takes `fd` over and makes it non-blocking. Throws std::system_error (then it is the caller's still),
    // std::bad_alloc.
    explicit descriptor(int fd);
    descriptor(descriptor&& other) noexcept : source_(std::exchange(other.source_, nullptr)) {}
    descriptor& operator=(descriptor&& other) noexcept {
        descriptor(std::move(other)).swap(*this);
        return *this;
    }
    ~descriptor() {
        if (source_ != nullptr) destroy();
    }

    // Alone, both.
    void swap(descriptor& other) noexcept { std::swap(source_, other.source_); }

    // Not after close(), release() or a move. Any thread.
    bool is_open() const noexcept;
    // The number, for calls of the caller's own; -1 if it is closed.
    int native_handle() const noexcept;

    // Closes: all operations under way end with errc::closed, and so do later ones. Again: nothing. Never throws.
    void close() noexcept;
    // Gives the number up without closing it; it stays non-blocking. -1 if it was closed. Alone.
    [[nodiscard]] int release() noexcept;

    // For calls of the caller's own, such as ioctl: parks until they would not block. Cancellation points.
    void wait_readable(limit within = {});
    void wait_writable(limit within = {});
    void wait_readable(std::error_code& error, limit within = {});
    void wait_writable(std::error_code& error, limit within = {});

    // read(2) and write(2): at least one byte, at most all. Cancellation points; one that has moved bytes does not
    // throw `cancelled`.
    std::size_t read_some(mutable_bytes into, limit within = {});
    std::size_t read_some(mutable_bytes into, std::error_code& error, limit within = {});
    std::size_t write_some(const_bytes from, limit within = {});
    std::size_t write_some(const_bytes from, std::error_code& error, limit within = {});

    // For the library's own algorithms; nullptr: refers to nothing.
    engine::io_source* source() const noexcept { return source_; }

 private:
    friend descriptor detail::own(int fd, engine::short_read means);
    descriptor(int fd, engine::short_read means);
    void destroy() noexcept;

    engine::io_source* source_ = nullptr;
};

}  // namespace io
}  // namespace fiber
