// System calls on files: the result, or -errno; never EINTR. They block, but for read_cached(). Not for users: only
// .cpp files include it. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fiber::detail {

long open_file(const char* path, int flags, unsigned permissions) noexcept;  // close-on-exec
long close_file(int fd) noexcept;
// What the page cache has, without waiting. -EAGAIN: nothing; -EOPNOTSUPP: this file system cannot tell.
long read_cached(int fd, void* into, std::size_t size, std::uint64_t offset) noexcept;
long read_file_at(int fd, void* into, std::size_t size, std::uint64_t offset) noexcept;  // at least a byte; 0: the end
// All of it, or as much as went before an error.
struct write_outcome {
    std::size_t written = 0;
    int error = 0;
};
write_outcome write_file_at(int fd, const void* from, std::size_t size, std::uint64_t offset) noexcept;
write_outcome append_to_file(int fd, const void* from, std::size_t size) noexcept;
long size_of_file(int fd) noexcept;
long resize_file(int fd, std::uint64_t size) noexcept;
long sync_file(int fd) noexcept;

// Reads from the beginning to the end, `most` bytes at most. -EFBIG: there is more. Throws std::bad_alloc.
long read_whole_file(int fd, std::string& into, std::size_t most);

}  // namespace fiber::detail
