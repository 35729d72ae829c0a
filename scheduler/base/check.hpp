// Internal invariants. A failed check is a defect of this library, never of its caller: callers get typed exceptions.
// FIBER_ASSERT costs nothing in release builds (NDEBUG) and stops the program in all others.
#pragma once

#include <cassert>

#include "scheduler/base/sanitizers.hpp"

#define FIBER_ASSERT(condition) assert(condition)
