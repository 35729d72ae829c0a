#include "scheduler/io/reactor.hpp"

#include <cerrno>

namespace fiber::engine {

reactor::~reactor() {
    for (std::atomic<slot*>& block : blocks_) delete[] block.load(std::memory_order_relaxed);
}

int reactor::add(int fd, io_interest what, readiness& target, registration& made) noexcept {
    slot* place = take_slot(target);
    if (place == nullptr) return ENOMEM;
    const registration id = (registration{place->generation} << 32) | place->index;  // the slot is this one's
    retain();
    registrations_.fetch_add(1, std::memory_order_seq_cst);  // P1
    const int error = kernel_.add(fd, what, id);
    if (error != 0) {
        put_slot(*place);
        registrations_.fetch_sub(1, std::memory_order_seq_cst);
        release();
        return error;
    }
    made = id;
    return 0;
}

void reactor::remove(int fd, registration which) noexcept {
    kernel_.remove(fd);
    put_slot(slot_at(static_cast<std::uint32_t>(which)));
    registrations_.fetch_sub(1, std::memory_order_seq_cst);
    release();
}

reactor::slot* reactor::take_slot(readiness& target) noexcept {
    std::lock_guard guard(slots_);
    slot* place = free_ != nullptr ? free_ : grow_locked();
    if (place == nullptr) return nullptr;
    free_ = place->next_free;
    place->target = &target;
    return place;
}

// The block's slots, linked, without the free list knowing of them yet.
reactor::slot* reactor::grow_locked() noexcept {
    if (blocks_made_ == most_blocks) return nullptr;
    const std::uint32_t size = first_block << blocks_made_;
    slot* block = new (std::nothrow) slot[size];
    if (block == nullptr) return nullptr;
    for (std::uint32_t i = 0; i < size; ++i) {
        block[i].index = size - first_block + i;
        block[i].next_free = i + 1 < size ? &block[i + 1] : nullptr;
    }
    blocks_[blocks_made_++].store(block, std::memory_order_release);  // P3
    return block;
}

void reactor::put_slot(slot& unused) noexcept {
    std::lock_guard guard(slots_);  // P2
    unused.target = nullptr;
    ++unused.generation;
    unused.next_free = free_;
    free_ = &unused;
}

}  // namespace fiber::engine
