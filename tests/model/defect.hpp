// What is made wrong on purpose, to see that a model finds it: the words of the library's own sources (substitute/) do
// as the seeded defect says.
#pragma once

#include <atomic>

#include "tests/model/explorer.hpp"

namespace model {

enum class defect {
    none,
    weak_stores,   // a store orders nothing, and so does a lock's release
    weak_updates,  // nor do fetch_or and fetch_and
    torn_updates,  // fetch_or is a load and a store
    no_locks,      // a lock keeps nobody out
};

inline defect seeded = defect::none;

// Seeds one for a while.
class with_defect {
 public:
    explicit with_defect(defect what) noexcept { seeded = what; }
    ~with_defect() { seeded = defect::none; }
    with_defect(const with_defect&) = delete;
    with_defect& operator=(const with_defect&) = delete;
};

// Notes uses of an atomic that nothing orders with its end. Part of the atomic.
class lifetime {
 public:
    constexpr lifetime() noexcept = default;
    lifetime(const lifetime&) = delete;
    lifetime& operator=(const lifetime&) = delete;
    ~lifetime() { detail::note_write(log_); }
    void use() const { detail::note_read(log_); }

 private:
    mutable detail::access_log log_;
};

inline std::memory_order weakened_store(std::memory_order order) noexcept {
    return seeded == defect::weak_stores ? std::memory_order_relaxed : order;
}
inline std::memory_order weakened_update(std::memory_order order) noexcept {
    return seeded == defect::weak_updates ? std::memory_order_relaxed : order;
}

}  // namespace model
