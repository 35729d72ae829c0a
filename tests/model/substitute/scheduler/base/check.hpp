// In place of the library's header of this name: an invariant that does not hold is a failure of the exploration, with
// the schedule that led to it.
#pragma once

#include "scheduler/base/sanitizers.hpp"

namespace model {
void check_invariant(bool holds, const char* condition);
}

#define FIBER_ASSERT(condition) ::model::check_invariant(static_cast<bool>(condition), #condition)
