#include "scheduler/core/task_pool.hpp"

#include <algorithm>
#include <new>

namespace fiber::engine {

namespace {
constexpr std::uint32_t batch = 64;            // slots that a cache and the pool trade at once
constexpr std::size_t first_slab = 16 * 1024;  // bytes; each further slab of the pool doubles, up to the largest
constexpr std::size_t largest_slab = 1024 * 1024;
}  // namespace

task_pool::~task_pool() {
    for (const slab& s : slabs_) {
        for (std::size_t i = 0; i < s.count; ++i) slot_at(s, i)->~task_slot();
        ::operator delete (s.memory, std::align_val_t{cache_line});
    }
}

task_slot* task_pool::slot_at(const slab& s, std::size_t i) noexcept {
    return std::launder(reinterpret_cast<task_slot*>(s.memory + i * s.stride));
}

void task_pool::grow_locked(std::uint8_t size_class) {
    const std::size_t stride = stride_of(size_class);
    const std::size_t bytes = std::min(largest_slab, first_slab << std::min<std::size_t>(slabs_.size(), 10));
    const std::size_t count = bytes / stride;
    slabs_.reserve(slabs_.size() + 1);  // may throw; nothing has changed yet
    auto* memory = static_cast<std::byte*>(::operator new (count* stride, std::align_val_t{cache_line}));
    slabs_.push_back({memory, stride, count});
    for (std::size_t i = count; i-- > 0;) {
        auto* slot = new (memory + i * stride) task_slot;
        slot->slot_size_class = size_class;
        slot->pool = this;
        free_.put(*slot);
    }
}

task_slot& task_pool::take(std::uint8_t size_class) {
    std::lock_guard guard(lock_);
    if (free_.free[size_class].first == nullptr) grow_locked(size_class);
    return *free_.take(size_class);
}

void task_pool::put(task_slot& slot) noexcept {
    bool last = false;
    {
        std::lock_guard guard(lock_);
        slot.retire();  // under the lock: orphan() counts what is in use
        free_.put(slot);
        last = orphaned_ && --live_after_orphaning_ == 0;
    }
    if (last) delete this;
}

task_slot& task_pool::refill(task_cache& cache, std::uint8_t size_class) {
    std::lock_guard guard(lock_);
    if (free_.free[size_class].first == nullptr) grow_locked(size_class);
    for (std::uint32_t i = 1; i < batch && free_.free[size_class].count > 1; ++i) cache.put(*free_.take(size_class));
    return *free_.take(size_class);
}

void task_pool::spill(task_cache& cache, std::uint8_t size_class) noexcept {
    std::lock_guard guard(lock_);
    while (cache.free[size_class].count > cache_limit / 2) free_.put(*cache.take(size_class));
}

void task_pool::give_back(task_cache& cache) noexcept {
    std::lock_guard guard(lock_);
    for (std::uint8_t c = 0; c < slot_class_count; ++c) {
        while (task_slot* slot = cache.take(c)) free_.put(*slot);
    }
}

void task_pool::orphan() noexcept {
    bool empty = false;
    {
        std::lock_guard guard(lock_);
        orphaned_ = true;
        for (const slab& s : slabs_) {
            for (std::size_t i = 0; i < s.count; ++i) {
                if (slot_at(s, i)->is(task_slot::in_use)) ++live_after_orphaning_;
            }
        }
        empty = live_after_orphaning_ == 0;
    }
    if (empty) delete this;
}

}  // namespace fiber::engine
