// Files, read and written without blocking a worker: what the page cache has is taken at once, all else is done by the
// runtime's threads for blocking calls. asyncio leaves files to such threads, too (to_thread). A plain thread blocks.
//
// Cancellation: a read or an open that waits is given up at once; the thread that still works for it writes into memory
// of its own, and the file stays open until it is done. A write, resize or close that has been handed over is waited
// for: nothing changes on the disk after you were told that you were cancelled.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "fiber/io.hpp"

namespace fiber {

enum class open_mode : unsigned char {
    read,    // must exist
    update,  // to read and write; must exist
    write,   // to read and write; is made, or emptied if it exists
    append,  // to read, and to write at the end; is made if there is none
    create   // to read and write; must not exist
};

// All but the queries are cancellation points on a fiber, and throw std::system_error (whose what() names operation,
// path and cause), std::bad_alloc, and what to_thread() throws. Those with a std::error_code report there instead of
// throwing std::system_error.
//
// Thread safety: any number of fibers and threads read and write at once. close(), moving and destroying: alone.
class file {
 public:
    file() noexcept = default;  // refers to nothing: every operation says errc::closed
    // Opens. `permissions` of one that is made, less the process's umask. Throws invalid_option for a path that is
    // empty or has a zero byte, and for an unknown mode.
    explicit file(const std::string& path, open_mode how = open_mode::read, unsigned permissions = 0666);
    file(file&& other) noexcept : handle_(std::move(other.handle_)) {}
    file& operator=(file&& other) noexcept {
        file(std::move(other)).swap(*this);
        return *this;
    }
    // Closes, and cannot say if that failed.
    ~file() {
        if (handle_ != nullptr) destroy();
    }
    void swap(file& other) noexcept { handle_.swap(other.handle_); }

    bool is_open() const noexcept { return handle_ != nullptr; }
    int native_handle() const noexcept;  // -1 if it is closed
    std::string path() const;            // as it was opened; empty if it is closed

    // From `offset` on. Fewer bytes than there is room for: the file ends there. Throws invalid_option for an offset
    // beyond 2^63.
    std::size_t read_at(io::mutable_bytes into, std::uint64_t offset);
    std::size_t read_at(io::mutable_bytes into, std::uint64_t offset, std::error_code& error);
    // The whole file. More than `most` bytes: io::limit_overrun.
    std::string read_all(std::size_t most = io::default_most);

    // All of it; with an error code returns how much was written. A gap behind the old end reads as zeros. A file that
    // was opened to append ignores the offset.
    void write_at(io::const_bytes from, std::uint64_t offset);
    std::size_t write_at(io::const_bytes from, std::uint64_t offset, std::error_code& error);
    // All of it, behind the end; never amid what others append.
    void append(io::const_bytes from);
    std::size_t append(io::const_bytes from, std::error_code& error);
    // Makes it the whole content: writes it at the beginning, and cuts off what is behind.
    void write_all(io::const_bytes from);

    std::uint64_t size();             // in bytes, now
    void resize(std::uint64_t size);  // what is new reads as zeros
    // Returns when everything that was written, also by others, is on the disk.
    void sync();
    // Throws what earlier writes have left to be told (network file systems); it is closed all the same. Again:
    // nothing.
    void close();

 private:
    struct handle;

    std::shared_ptr<handle> opened(const char* operation) const;
    void destroy() noexcept;

    std::shared_ptr<handle> handle_;
};

// A whole file by its path, in one go. As file's members; write_file() makes or empties the file first.
std::string read_file(const std::string& path, std::size_t most = io::default_most);
void write_file(const std::string& path, io::const_bytes content, unsigned permissions = 0666);

}  // namespace fiber
