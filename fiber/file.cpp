#include "fiber/file.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <limits>

#include "fiber/detail/file_call.hpp"
#include "fiber/error.hpp"
#include "fiber/offload.hpp"
#include "fiber/shield.hpp"
#include "fiber/sleep.hpp"
#include "fiber/this_fiber.hpp"

namespace fiber {

// Shared by the file and the calls that were given up: the descriptor is closed when the last lets go of it.
struct file::handle {
    handle(int fd, std::string path) noexcept : fd(fd), path(std::move(path)) {}
    ~handle() {
        if (fd >= 0) (void)detail::close_file(fd);
    }
    handle(const handle&) = delete;
    handle& operator=(const handle&) = delete;

    std::atomic<int> fd;
    const std::string path;
    std::atomic<bool> can_tell_cached{true};  // a hint
    std::atomic<unsigned> unhindered{0};      // reads that did not wait, since the last that did; a hint
};

namespace {

constexpr std::size_t cached_piece = 128 * 1024;  // holds the worker for some ten microseconds
constexpr unsigned most_unhindered = 16;          // of these, before others get a turn
constexpr std::size_t offloaded_piece = 1 << 20;  // of memory that a read is given which may outlive its caller

std::error_code code_of(long outcome) noexcept {
    return {outcome < 0 ? static_cast<int>(-outcome) : 0, std::generic_category()};
}

[[noreturn]] void fail(const std::error_code& error, const char* operation, const std::string& path) {
    throw std::system_error(error, std::string("fiber: ") + operation + " \"" + path + "\"");
}

void check(long outcome, const char* operation, const std::string& path) {
    if (outcome < 0) fail(code_of(outcome), operation, path);
}

// Calls f on a thread for blocking calls, and gives up waiting for it when the caller is cancelled: f owns all that it
// touches.
template <class F>
auto until_cancelled(F f) {
    return this_fiber::on_fiber() ? to_thread(std::move(f)) : f();
}

// The same, but waits until f has returned: f may refer to the caller's frame.
template <class F>
auto to_the_end(F f) {
    if (!this_fiber::on_fiber()) return f();
    this_fiber::check_cancelled();
    return uncancellable([&] { return to_thread(std::move(f)); });
}

void check_path(const std::string& path) {
    if (path.empty()) throw invalid_option("fiber: file: the path is empty");
    if (path.find('\0') == std::string::npos) return;
    throw invalid_option(std::string("fiber: file: the path \"") + path.c_str() + "\" has a zero byte in it");
}

void check_offset(std::uint64_t offset) {
    if (offset <= static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) return;
    throw invalid_option("fiber: file: " + std::to_string(offset) + " is beyond the largest file, 2^63 - 1 bytes");
}

int flags_of(open_mode how) {
    switch (how) {
        case open_mode::read:
            return O_RDONLY;
        case open_mode::update:
            return O_RDWR;
        case open_mode::write:
            return O_RDWR | O_CREAT | O_TRUNC;
        case open_mode::append:
            return O_RDWR | O_CREAT | O_APPEND;
        case open_mode::create:
            return O_RDWR | O_CREAT | O_EXCL;
    }
    throw invalid_option("fiber: file: unknown open_mode " + std::to_string(static_cast<int>(how)));
}

struct block {
    long outcome = 0;
    std::unique_ptr<char[]> bytes;
};

}  // namespace

file::file(const std::string& path, open_mode how, unsigned permissions) {
    check_path(path);
    const int flags = flags_of(how);
    // An open that was given up may succeed later: what it has opened goes with its result.
    auto opening = std::make_shared<handle>(-1, path);
    const long outcome = until_cancelled([opening, flags, permissions] {
        const long opened = detail::open_file(opening->path.c_str(), flags, permissions);
        if (opened >= 0) opening->fd = static_cast<int>(opened);
        return opened;
    });
    check(outcome, "open", path);
    handle_ = std::move(opening);
}

void file::destroy() noexcept {
    if (this_fiber::on_fiber()) {
        try {
            uncancellable([&] { to_thread([&] { handle_.reset(); }); });
        } catch (const std::exception&) {  // no thread, no memory: then here
        }
    }
    handle_.reset();
}

int file::native_handle() const noexcept { return handle_ != nullptr ? handle_->fd.load() : -1; }
std::string file::path() const { return handle_ != nullptr ? handle_->path : std::string(); }

std::shared_ptr<file::handle> file::opened(const char* operation) const {
    if (handle_ == nullptr) fail(io::errc::closed, operation, "");
    return handle_;
}

// --- reading ---

namespace {

// From the page cache, into the caller's memory; -EAGAIN: a thread has to fetch it.
template <class Handle>
long read_at_once(Handle& from, char* into, std::size_t size, std::uint64_t offset) {
    if (!from.can_tell_cached.load(std::memory_order_relaxed)) return -EAGAIN;
    if (from.unhindered.load(std::memory_order_relaxed) >= most_unhindered) {
        from.unhindered.store(0, std::memory_order_relaxed);
        yield();
    }
    const long done = detail::read_cached(from.fd, into, std::min(size, cached_piece), offset);
    if (done == -EOPNOTSUPP) {
        from.can_tell_cached.store(false, std::memory_order_relaxed);
        return -EAGAIN;
    }
    from.unhindered.fetch_add(1, std::memory_order_relaxed);
    return done;
}

template <class Handle>
long read_on_thread(const std::shared_ptr<Handle>& from, char* into, std::size_t size, std::uint64_t offset) {
    size = std::min(size, offloaded_piece);
    block read = to_thread([from, size, offset] {
        block made{0, std::unique_ptr<char[]>(new char[size])};
        made.outcome = detail::read_file_at(from->fd, made.bytes.get(), size, offset);
        return made;
    });
    if (read.outcome > 0) std::memcpy(into, read.bytes.get(), static_cast<std::size_t>(read.outcome));
    return read.outcome;
}

}  // namespace

std::size_t file::read_at(io::mutable_bytes into, std::uint64_t offset, std::error_code& error) {
    error.clear();
    check_offset(offset);
    this_fiber::check_cancelled();
    const std::shared_ptr<handle> from = handle_;
    if (from == nullptr) {
        error = io::errc::closed;
        return 0;
    }
    const bool parks = this_fiber::on_fiber();
    std::size_t done = 0;
    while (done < into.size) {
        char* const to = static_cast<char*>(into.data) + done;
        const std::size_t left = into.size - done;
        long count = parks ? read_at_once(*from, to, left, offset + done)
                           : detail::read_file_at(from->fd, to, left, offset + done);
        if (count == -EAGAIN && parks) count = read_on_thread(from, to, left, offset + done);
        error = code_of(count);
        if (count <= 0) break;
        done += static_cast<std::size_t>(count);
    }
    return done;
}

std::size_t file::read_at(io::mutable_bytes into, std::uint64_t offset) {
    std::error_code error;
    const std::size_t count = read_at(into, offset, error);
    if (error) fail(error, "read", path());
    return count;
}

namespace {

struct whole_file {
    long outcome = 0;
    std::string bytes;
};

std::string content_of(whole_file&& read, const std::string& path, std::size_t most) {
    if (read.outcome == -EFBIG) {
        throw io::limit_overrun("fiber: read all of \"" + path + "\", at most " + std::to_string(most) + " bytes");
    }
    check(read.outcome, "read", path);
    return std::move(read.bytes);
}

}  // namespace

std::string file::read_all(std::size_t most) {
    const std::shared_ptr<handle> from = opened("read");
    return content_of(until_cancelled([from, most] {
                          whole_file read;
                          read.outcome = detail::read_whole_file(from->fd, read.bytes, most);
                          return read;
                      }),
                      from->path, most);
}

// --- writing ---

std::size_t file::write_at(io::const_bytes from, std::uint64_t offset, std::error_code& error) {
    error.clear();
    check_offset(offset);
    if (handle_ == nullptr) {
        error = io::errc::closed;
        return 0;
    }
    const auto outcome = to_the_end([&] { return detail::write_file_at(handle_->fd, from.data, from.size, offset); });
    error = code_of(-outcome.error);
    return outcome.written;
}

void file::write_at(io::const_bytes from, std::uint64_t offset) {
    std::error_code error;
    (void)write_at(from, offset, error);
    if (error) fail(error, "write", path());
}

std::size_t file::append(io::const_bytes from, std::error_code& error) {
    error.clear();
    if (handle_ == nullptr) {
        error = io::errc::closed;
        return 0;
    }
    const auto outcome = to_the_end([&] { return detail::append_to_file(handle_->fd, from.data, from.size); });
    error = code_of(-outcome.error);
    return outcome.written;
}

void file::append(io::const_bytes from) {
    std::error_code error;
    (void)append(from, error);
    if (error) fail(error, "append to", path());
}

void file::write_all(io::const_bytes from) {
    const std::shared_ptr<handle> to = opened("write");
    const long outcome = to_the_end([&]() -> long {
        const auto written = detail::write_file_at(to->fd, from.data, from.size, 0);
        return written.error != 0 ? -written.error : detail::resize_file(to->fd, from.size);
    });
    check(outcome, "write", to->path);
}

// --- the rest ---

std::uint64_t file::size() {
    const std::shared_ptr<handle> of = opened("look at");
    const long outcome = until_cancelled([of] { return detail::size_of_file(of->fd); });
    check(outcome, "look at", of->path);
    return static_cast<std::uint64_t>(outcome);
}

void file::resize(std::uint64_t size) {
    check_offset(size);
    const std::shared_ptr<handle> of = opened("resize");
    check(to_the_end([&] { return detail::resize_file(of->fd, size); }), "resize", of->path);
}

void file::sync() {
    const std::shared_ptr<handle> of = opened("sync");
    check(until_cancelled([of] { return detail::sync_file(of->fd); }), "sync", of->path);
}

void file::close() {
    if (handle_ == nullptr) return;
    const std::string path = handle_->path;
    const long outcome = to_the_end([&]() -> long {
        const std::shared_ptr<handle> last = std::move(handle_);
        // A read that was given up may still use the descriptor: then that read closes it.
        if (last.use_count() != 1) return 0;
        return detail::close_file(last->fd.exchange(-1));
    });
    check(outcome, "close", path);
}

std::string read_file(const std::string& path, std::size_t most) {
    check_path(path);
    return content_of(until_cancelled([path, most] {
                          whole_file read;
                          const long fd = detail::open_file(path.c_str(), O_RDONLY, 0);
                          if (fd < 0) return whole_file{fd, {}};
                          try {
                              read.outcome = detail::read_whole_file(static_cast<int>(fd), read.bytes, most);
                          } catch (...) {
                              (void)detail::close_file(static_cast<int>(fd));
                              throw;
                          }
                          (void)detail::close_file(static_cast<int>(fd));
                          return read;
                      }),
                      path, most);
}

void write_file(const std::string& path, io::const_bytes content, unsigned permissions) {
    check_path(path);
    const long outcome = to_the_end([&]() -> long {
        const long fd = detail::open_file(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, permissions);
        if (fd < 0) return fd;
        const auto written = detail::write_file_at(static_cast<int>(fd), content.data, content.size, 0);
        const long closed = detail::close_file(static_cast<int>(fd));
        return written.error != 0 ? -written.error : closed;
    });
    check(outcome, "write", path);
}

}  // namespace fiber
