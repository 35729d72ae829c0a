// Numbers for being fair: neither secret nor the same in every run. Any thread.
#pragma once

#include <cstddef>

namespace fiber::detail {

// 0 ... limit - 1. Never inlined: its state belongs to the thread. Requires: limit != 0.
std::size_t random_below(std::size_t limit) noexcept;

}  // namespace fiber::detail
