// In place of the library's header of this name: who waits for a lock does not spin, or the exploration never ends.
#pragma once

#include <cstddef>
#include <sched.h>

#include "tests/model/defect.hpp"
#include "tests/model/explorer.hpp"

namespace fiber::engine {

inline constexpr std::size_t cache_line = 512;  // the model's words are larger: a task's head still fits in two

inline void cpu_pause() noexcept {}

struct polite_spin {
    template <class Condition>
    static void until(Condition condition) {
        model::wait_until(condition);
    }
};

class spin_lock {
 public:
    void lock() {
        life_.use();
        if (model::seeded != model::defect::no_locks) model::detail::lock(held_);
    }
    // The reactor's, which no model reaches.
    bool try_lock() {
        model::fail("try_lock() has no stand-in");
        return false;
    }
    void unlock() {
        life_.use();
        model::detail::store(held_, 0, model::weakened_store(std::memory_order_release));
    }

 private:
    model::detail::cell held_{model::detail::identity::moment};
    model::lifetime life_;
};

}  // namespace fiber::engine
