#include "fiber/detail/random.hpp"

#include <cstdint>

namespace fiber::detail {

// xorshift (Marsaglia 2003), one state a thread.
__attribute__((noinline)) std::size_t random_below(std::size_t limit) noexcept {
    static thread_local std::uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % limit;
}

}  // namespace fiber::detail
