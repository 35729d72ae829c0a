// What a stack is to the rest of the engine: two addresses, and the class of sizes it belongs to.
// A class promises its users a number of bytes; the mapping behind it is a little larger (head-room), so that a task
// called on its parent's stack ("join by claim") can still be promised its own size. The head-room is never touched
// unless used, so it costs address space only.
// Plain values: no thread safety needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace fiber::engine {

// Usable bytes are [limit, base). A guard lies below `limit`. `base` is 16-aligned; the stack grows down from it.
struct stack_view {
    std::byte* limit = nullptr;
    std::byte* base = nullptr;

    std::size_t size() const noexcept { return static_cast<std::size_t>(base - limit); }
};

// Class c promises minimum_stack_size << c bytes.
using stack_class = std::uint8_t;

inline constexpr std::size_t minimum_stack_size = std::size_t{16} << 10;
inline constexpr std::size_t default_stack_size = std::size_t{256} << 10;
inline constexpr stack_class stack_class_count = 13;
inline constexpr std::size_t maximum_stack_size = minimum_stack_size << (stack_class_count - 1);

// Requires: which < stack_class_count.
constexpr std::size_t promised_size(stack_class which) noexcept { return minimum_stack_size << which; }

// The smallest class that promises at least `promised` bytes; nothing beyond maximum_stack_size.
constexpr std::optional<stack_class> class_for(std::size_t promised) noexcept {
    for (stack_class c = 0; c < stack_class_count; ++c) {
        if (promised <= promised_size(c)) return c;
    }
    return std::nullopt;
}

inline constexpr stack_class default_stack_class = *class_for(default_stack_size);

}  // namespace fiber::engine
