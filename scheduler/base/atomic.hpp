// The words by which waiting callers come to terms, and what such a word guards, under names of their own: the model
// checker builds the library's own sources with its stand-ins in their place (tests/model/substitute). In the library
// they are std::atomic and nothing at all.
#pragma once

#include <atomic>

namespace fiber::engine {

template <class T>
using atomic = std::atomic<T>;

// A plain variable that changes hands under a lock, or between claim() and complete(). The model checker looks for
// accesses that nothing orders, and for those that come after its owner has left.
template <class T>
using guarded = T;

}  // namespace fiber::engine
