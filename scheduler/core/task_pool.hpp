// Where tasks live: slots in a few sizes, cut from slabs that stay mapped as long as any task of the pool does.
// One pool per scheduler. Each worker takes from and gives to a cache of its own; caches trade whole batches with the
// pool under its lock. Slots are type-stable: a task_slot's header is constructed once and keeps its generation between
// uses.
//
// Thread safety: a task_cache belongs to one worker. task_pool: any thread.
// A handle may outlive its runtime: a pool whose scheduler is gone deletes itself with its last task.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "scheduler/base/spin_lock.hpp"
#include "scheduler/core/task.hpp"

namespace fiber::engine {

// Free slots of one worker, by class; linked through queue_next.
struct task_cache {
    struct chain {
        task_slot* first = nullptr;
        std::uint32_t count = 0;
    };
    std::array<chain, slot_class_count> free;

    task_slot* take(std::uint8_t size_class) noexcept {
        chain& slots = free[size_class];
        task_slot* slot = slots.first;
        if (slot == nullptr) return nullptr;
        slots.first = slot->queue_next;
        --slots.count;
        return slot;
    }

    void put(task_slot& slot) noexcept {
        chain& slots = free[slot.slot_size_class];
        slot.queue_next = slots.first;
        slots.first = &slot;
        ++slots.count;
    }
};

class task_pool {
 public:
    explicit task_pool(scheduler& home) noexcept : home_(home) {}
    task_pool(const task_pool&) = delete;
    task_pool& operator=(const task_pool&) = delete;

    // Whose tasks these are. Requires: not orphaned.
    scheduler& home() const noexcept { return home_; }

    // Calls f(scheduler&), which must not touch the pool, unless the scheduler is gone; until then it stays. Any
    // thread.
    template <class F>
    void visit_home(F&& f) {
        std::lock_guard guard(lock_);
        if (!orphaned_) f(home_);
    }

    // Something of the floor above that must live as long as the tasks. Set before the first task.
    void set_companion(std::shared_ptr<const void> companion) noexcept { companion_ = std::move(companion); }
    const void* companion() const noexcept { return companion_.get(); }

    // Any thread. Throws std::bad_alloc.
    task_slot& take(std::uint8_t size_class);
    void put(task_slot& slot) noexcept;

    // The slow path of a worker's cache: fills it with a batch. Throws std::bad_alloc.
    task_slot& refill(task_cache& cache, std::uint8_t size_class);
    // Gives half of an overlong cache back.
    void spill(task_cache& cache, std::uint8_t size_class) noexcept;
    void give_back(task_cache& cache) noexcept;

    // Calls f(task_slot&) for each slot that was ever handed out. The caller looks at `state`. Any thread.
    template <class F>
    void for_each(F&& f) {
        std::lock_guard guard(lock_);
        for (const slab& s : slabs_) {
            for (std::size_t i = 0; i < s.count; ++i) f(*slot_at(s, i));
        }
    }

    // The scheduler is gone. The pool deletes itself now, or with its last task.
    void orphan() noexcept;

    static constexpr std::uint32_t cache_limit = 4096;  // slots per class; bench spawn_join holds 1,000 at once

 private:
    struct slab {
        std::byte* memory;
        std::size_t stride;
        std::size_t count;
    };

    ~task_pool();

    static task_slot* slot_at(const slab& s, std::size_t i) noexcept;
    static constexpr std::size_t stride_of(std::uint8_t size_class) noexcept {
        return sizeof(task_slot) + slot_payloads[size_class];
    }
    void grow_locked(std::uint8_t size_class);

    scheduler& home_;
    std::shared_ptr<const void> companion_;
    spin_lock lock_;
    task_cache free_;
    std::vector<slab> slabs_;
    std::size_t live_after_orphaning_ = 0;
    bool orphaned_ = false;
};

}  // namespace fiber::engine
