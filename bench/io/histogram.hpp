// Counts of durations, from which percentiles come: 128 steps for each power of two, so a figure is exact to 0.8 %,
// and adding one costs a few instructions and no memory, however many there are.
// Thread safety: none, one thread's own.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace bench {

class histogram {
 public:
    void add(std::uint64_t nanoseconds) noexcept {
        ++counts_[index(nanoseconds)];
        ++total_;
    }
    void clear() noexcept {
        counts_.fill(0);
        total_ = 0;
    }
    std::uint64_t total() const noexcept { return total_; }

    // The duration that `fraction` of all do not exceed; 0 if there are none. Requires: fraction < 1.
    double percentile(double fraction) const noexcept {
        const auto wanted = static_cast<std::uint64_t>(fraction * static_cast<double>(total_));
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            seen += counts_[i];
            if (seen > wanted) return middle(i);
        }
        return 0;
    }

 private:
    static constexpr unsigned bits = 7, steps = 1u << bits, powers = 33;  // up to 2^40 ns, 18 minutes

    // Below 2 * steps every nanosecond has its place; above, the top bits of the number are its place.
    static std::size_t index(std::uint64_t value) noexcept {
        if (value < 2 * steps) return value;
        const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - bits - 1;
        const std::size_t place = std::size_t{shift} * steps + (value >> shift);
        return place < steps * powers ? place : steps * powers - 1;
    }
    static double middle(std::size_t place) noexcept {
        if (place < 2 * steps) return static_cast<double>(place);
        const std::size_t shift = place / steps - 1, top = place % steps + steps;
        return (static_cast<double>(top) + 0.5) * static_cast<double>(std::uint64_t{1} << shift);
    }

    std::array<std::uint64_t, std::size_t{steps} * powers> counts_{};
    std::uint64_t total_ = 0;
};

}  // namespace bench
