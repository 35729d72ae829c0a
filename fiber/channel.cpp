#include "fiber/channel.hpp"

#include <string>

namespace fiber::detail {

std::size_t require_channel_capacity(std::size_t capacity) {
    constexpr std::size_t most = ring<char>::most;
    if (capacity > most) {
        throw invalid_option("fiber: channel(" + std::to_string(capacity) + "): the capacity is at most " +
                             std::to_string(most) + " items");
    }
    return capacity;
}

void throw_closed_twice() { throw usage_error("fiber: channel::close() was called on a channel that is closed"); }

}  // namespace fiber::detail
