#include "fiber/detail/file_call.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace fiber::detail {

namespace {

constexpr std::size_t largest_piece = 1 << 30;  // Linux moves no more than 2 GiB in one call

template <class Call>
long uninterrupted(Call call) noexcept {
    for (;;) {
        const long done = call();
        if (done >= 0) return done;
        if (errno != EINTR) return -errno;
    }
}

// Never inlined, as in io_call.cpp: of all these only read_cached() is called where a fiber may have waited before.
template <class Write>
write_outcome write_all_of(const void* from, std::size_t size, Write write) noexcept {
    write_outcome outcome;
    while (outcome.written < size) {
        const std::size_t piece = std::min(size - outcome.written, largest_piece);
        const char* rest = static_cast<const char*>(from) + outcome.written;
        const long done = uninterrupted([&] { return write(rest, piece, outcome.written); });
        if (done < 0) {
            outcome.error = static_cast<int>(-done);
            return outcome;
        }
        outcome.written += static_cast<std::size_t>(done);
    }
    return outcome;
}

}  // namespace

__attribute__((noinline)) long open_file(const char* path, int flags, unsigned permissions) noexcept {
    return uninterrupted([&] { return ::open(path, flags | O_CLOEXEC, permissions); });
}

__attribute__((noinline)) long close_file(int fd) noexcept {
    return ::close(fd) == 0 || errno == EINTR ? 0 : -errno;  // EINTR: Linux has closed it all the same
}

__attribute__((noinline)) long read_cached(int fd, void* into, std::size_t size, std::uint64_t offset) noexcept {
    const iovec piece{into, size};
    return uninterrupted([&] { return ::preadv2(fd, &piece, 1, static_cast<off_t>(offset), RWF_NOWAIT); });
}

__attribute__((noinline)) long read_file_at(int fd, void* into, std::size_t size, std::uint64_t offset) noexcept {
    return uninterrupted([&] { return ::pread(fd, into, std::min(size, largest_piece), static_cast<off_t>(offset)); });
}

__attribute__((noinline)) write_outcome write_file_at(int fd, const void* from, std::size_t size,
                                                      std::uint64_t offset) noexcept {
    return write_all_of(from, size, [&](const char* rest, std::size_t piece, std::size_t before) {
        return ::pwrite(fd, rest, piece, static_cast<off_t>(offset + before));
    });
}

namespace {

bool is_kind(int fd, mode_t kind) noexcept {
    struct stat what {};
    return ::fstat(fd, &what) == 0 && (what.st_mode & S_IFMT) == kind;
}

// Is its end the only place where it can be written?
bool only_appends(int fd) noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    return (flags >= 0 && (flags & O_APPEND)) || !is_kind(fd, S_IFREG);
}

}  // namespace

__attribute__((noinline)) write_outcome append_to_file(int fd, const void* from, std::size_t size) noexcept {
    if (is_kind(fd, S_IFIFO)) return {0, ESPIPE};  // as at an offset; a broken one would raise SIGPIPE
    return write_all_of(from, size, [&](const char* rest, std::size_t piece, std::size_t) {
        const iovec part{const_cast<char*>(rest), piece};
        const long done = ::pwritev2(fd, &part, 1, 0, RWF_APPEND);
        return done < 0 && errno == EOPNOTSUPP && only_appends(fd) ? ::write(fd, rest, piece) : done;
    });
}

__attribute__((noinline)) long size_of_file(int fd) noexcept {
    struct stat what {};
    return ::fstat(fd, &what) == 0 ? static_cast<long>(what.st_size) : -errno;
}

__attribute__((noinline)) long resize_file(int fd, std::uint64_t size) noexcept {
    return uninterrupted([&] { return ::ftruncate(fd, static_cast<off_t>(size)); });
}

__attribute__((noinline)) long sync_file(int fd) noexcept {
    return uninterrupted([&] { return ::fsync(fd); });
}

long read_whole_file(int fd, std::string& into, std::size_t most) {
    constexpr std::size_t smallest_step = 4096;
    const std::size_t size = static_cast<std::size_t>(std::max(size_of_file(fd), 0L));
    if (size > most) return -EFBIG;
    // One byte more than there should be, and the second read sees the end. What has no size (in /proc) grows by
    // doubling.
    std::size_t step = std::max(size + 1, smallest_step);
    for (std::size_t done = 0;;) {
        into.resize(done + step);
        const long count = read_file_at(fd, into.data() + done, step, done);
        if (count < 0) return count;
        done += static_cast<std::size_t>(count);
        if (done > most) return -EFBIG;
        if (count == 0) {
            into.resize(done);
            return 0;
        }
        step = std::max(done, smallest_step);
        if (done == size) step = 1;
    }
}

}  // namespace fiber::detail
