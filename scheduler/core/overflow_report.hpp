// What a stack overflow says: which fiber it was, how large its stack is, and where it was spawned.
// On the signal stack of the thread that faulted, at any point of the program: reads, without locks.
#pragma once

#include <cstddef>

namespace fiber::engine {

// An overflow_describer (scheduler/context/overflow.hpp) for the calling worker's fibers; 0 on any other thread.
int describe_overflow(const void* fault, char* buffer, std::size_t size) noexcept;

}  // namespace fiber::engine
