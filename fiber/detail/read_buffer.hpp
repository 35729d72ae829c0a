// What has been read from a descriptor and not yet from the stream that owns it: the memory behind reads that look for
// a count or a delimiter. One fiber or thread at a time; the reading itself is in buffered_reads.hpp.
//
// Invariant: bytes stand in [begin, end) of the memory; an empty buffer keeps a small memory only.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

namespace fiber::detail {

class read_buffer {
 public:
    static constexpr std::size_t small = 4096;  // kept while nothing comes; a larger one is given back

    read_buffer() noexcept = default;
    read_buffer(read_buffer&& other) noexcept
        : memory_(std::move(other.memory_)),
          capacity_(std::exchange(other.capacity_, 0)),
          begin_(std::exchange(other.begin_, 0)),
          end_(std::exchange(other.end_, 0)) {}
    read_buffer& operator=(read_buffer&& other) noexcept {
        memory_ = std::move(other.memory_);
        capacity_ = std::exchange(other.capacity_, 0);
        begin_ = std::exchange(other.begin_, 0);
        end_ = std::exchange(other.end_, 0);
        return *this;
    }

    std::size_t size() const noexcept { return end_ - begin_; }
    std::size_t capacity() const noexcept { return capacity_; }
    std::string_view bytes() const noexcept { return {memory_.get() + begin_, size()}; }

    // Copies out at most `most` bytes; returns how many.
    std::size_t take(void* into, std::size_t most) noexcept;
    void consume(std::size_t count) noexcept;  // Requires: count <= size().

    // Room for `wanted` bytes in all. Throws std::bad_alloc; then all is as it was.
    void reserve(std::size_t wanted);
    // Where the next bytes go, and how many: written there, then added.
    char* room() const noexcept { return memory_.get() + end_; }
    std::size_t room_size() const noexcept { return capacity_ - end_; }
    void add(std::size_t count) noexcept { end_ += count; }

    // Is an operation under way that may wait with a pointer to room()? Nobody else may touch the buffer then.
    bool is_lent() const noexcept { return lent_; }
    void lend() noexcept { lent_ = true; }
    void take_home() noexcept { lent_ = false; }

 private:
    std::unique_ptr<char[]> memory_;  // none until it is needed
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool lent_ = false;
};

}  // namespace fiber::detail
