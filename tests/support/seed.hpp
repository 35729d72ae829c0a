// The seed of this run. Everything random in a test derives from it, and it is printed, so that a failure can be
// replayed: FIBER_TEST_SEED=… build/plain/tests/test_stress -tc='the test'
#pragma once

#include <cstdint>

namespace fiber_test {

// Any thread. The same number throughout one run.
std::uint64_t seed() noexcept;

// A small random generator (SplitMix64) for tests: fast, and its whole state is one number that can be printed.
// One thread (or fiber) at a time; give each its own with a different `stream`.
class random {
 public:
    explicit random(std::uint64_t stream = 0) noexcept : state_(seed() + stream * 0x9e3779b97f4a7c15u) {}

    std::uint64_t next() noexcept {
        std::uint64_t mixed = (state_ += 0x9e3779b97f4a7c15u);
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
        return mixed ^ (mixed >> 31);
    }

    // Uniform enough in [0, limit). Requires: limit > 0.
    std::uint64_t below(std::uint64_t limit) noexcept { return next() % limit; }

 private:
    std::uint64_t state_;
};

}  // namespace fiber_test
