#include "fiber/detail/read_buffer.hpp"

#include <algorithm>
#include <cstring>

namespace fiber::detail {

std::size_t read_buffer::take(void* into, std::size_t most) noexcept {
    const std::size_t count = std::min(size(), most);
    if (count == 0) return 0;
    std::memcpy(into, memory_.get() + begin_, count);
    consume(count);
    return count;
}

void read_buffer::consume(std::size_t count) noexcept {
    begin_ += count;
    if (begin_ != end_) return;
    begin_ = end_ = 0;
    if (capacity_ > small) {
        memory_.reset();
        capacity_ = 0;
    }
}

void read_buffer::reserve(std::size_t wanted) {
    if (capacity_ - begin_ >= wanted) return;
    const std::size_t needed = std::max(wanted, small);
    if (capacity_ < needed) {
        std::unique_ptr<char[]> larger(new char[needed]);
        if (end_ != begin_) std::memcpy(larger.get(), memory_.get() + begin_, size());
        memory_ = std::move(larger);
        capacity_ = needed;
    } else {
        std::memmove(memory_.get(), memory_.get() + begin_, size());
    }
    end_ -= begin_;
    begin_ = 0;
}

}  // namespace fiber::detail
