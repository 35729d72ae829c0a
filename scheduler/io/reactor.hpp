// The reactor: knows which descriptors are registered, asks the kernel for their edges, and brings these to their
// readiness. It is told nothing of workers or fibers: what waits are list_nodes, and what it means to wake one is the
// caller's affair.
//
// Owner: a scheduler, and every registration: it lives until the last of them has let go.
//
// A registration is kept across waits. It stands in a slot; slots are never given back while the reactor lives, and
// each use of one has its own generation. What the kernel reports is slot and generation, so an event that was fetched
// before its descriptor was closed, and is looked at afterwards, meets another generation and is dropped, also when
// descriptor number and slot are used again.
//
// Thread safety: any thread, but collect() and deliver(), which belong to whoever holds the poll lock.
//
// Orders, by pair:
//   P1  add: registrations + 1, seq_cst, then a look at who waits for events  <>  one about to wait: announces that,
//       then looks at the registrations, seq_cst. One of them sees the other (scheduler.cpp).
//   P2  remove: slots' lock  <>  deliver: slots' lock. When remove() has returned, nobody touches the readiness.
//   P3  grow: release store of the block  ->  slot_at: acquire load.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

#include "scheduler/base/clock.hpp"
#include "scheduler/base/spin_lock.hpp"
#include "scheduler/io/poller.hpp"
#include "scheduler/io/readiness.hpp"

namespace fiber::engine {

class reactor {
 public:
    using registration = std::uint64_t;  // slot in the low half, generation in the high half; never 0

    // A reactor with one owner. Throws std::system_error, std::bad_alloc.
    static reactor* make() { return new reactor; }
    void retain() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
    reactor(const reactor&) = delete;
    reactor& operator=(const reactor&) = delete;

    // Edges of `fd` go to `target` from here on; what is ready already counts as one. The registration owns the
    // reactor, too. 0, or errno as poller::add(), ENOMEM.
    [[nodiscard]] int add(int fd, io_interest what, readiness& target, registration& made) noexcept;
    // Watches for something else; what is ready of it counts as an edge.
    [[nodiscard]] int change(int fd, io_interest what, registration which) noexcept {
        return kernel_.change(fd, what, which);
    }
    // Afterwards the target is not touched any more. The reactor may be gone. `fd` must not have been closed yet, or it
    // may be a stranger by now.
    void remove(int fd, registration which) noexcept;

    std::size_t registrations() const noexcept { return registrations_.load(std::memory_order_seq_cst); }  // P1

    // Ends the collect() under way, or the next one.
    void interrupt() noexcept { kernel_.interrupt(); }

    // --- One at a time ---

    [[nodiscard]] bool try_lock() noexcept { return polling_.try_lock(); }
    void lock() noexcept { polling_.lock(); }
    void unlock() noexcept { polling_.unlock(); }

    // Waits for events (see poller::wait) and returns how many there are for deliver(). Requires: the poll lock.
    std::size_t collect(nanos deadline) noexcept { return collected_ = kernel_.wait(deadline); }

    // Brings what was collected to its targets. Requires: the poll lock. claim: see readiness::raise().
    template <class Claim>
    void deliver(Claim claim) noexcept {
        for (std::size_t i = 0; i < collected_;) {
            std::lock_guard guard(slots_);  // P2
            const std::size_t end = std::min(i + at_once, collected_);
            for (; i < end; ++i) deliver_one(kernel_.event(i), claim);
        }
        collected_ = 0;
    }

    // Readies every descriptor, so that whoever waits for one tries it, and goes to wait elsewhere: here nobody will
    // collect events any more. claim: see readiness::raise().
    template <class Claim>
    void raise_all(Claim claim) noexcept {
        constexpr std::uint64_t all = readiness::ready(io_direction::read) | readiness::ready(io_direction::write);
        if (registrations() == 0) return;
        std::lock_guard guard(slots_);  // P2
        for (int block = 0; block < blocks_made_; ++block) {
            slot* first = blocks_[block].load(std::memory_order_relaxed);
            for (std::uint32_t i = 0; i < first_block << block; ++i) {
                if (first[i].target != nullptr) first[i].target->raise(all, claim);
            }
        }
    }

 private:
    struct slot {
        readiness* target = nullptr;  // nullptr: free
        slot* next_free = nullptr;
        std::uint32_t generation = 1;
        std::uint32_t index = 0;
    };
    static constexpr std::size_t at_once = 16;        // events delivered under one lock (bench echo_100)
    static constexpr std::uint32_t first_block = 64;  // slots; each further block is twice as large
    static constexpr int most_blocks = 25;            // two thousand million descriptors

    reactor() = default;
    ~reactor();

    slot* take_slot(readiness& target) noexcept;
    slot* grow_locked() noexcept;
    void put_slot(slot& unused) noexcept;

    // Block b holds the slots from (first_block << b) - first_block on.
    slot& slot_at(std::uint32_t index) const noexcept {
        const std::uint32_t shifted = index + first_block;
        const int block = std::bit_width(shifted) - std::bit_width(first_block);
        return blocks_[block].load(std::memory_order_acquire)[shifted - (first_block << block)];  // P3
    }

    // Requires: the slots' lock.
    template <class Claim>
    void deliver_one(const poll_event& event, Claim& claim) noexcept {
        using io = readiness;
        constexpr io_direction read = io_direction::read;
        constexpr io_direction write = io_direction::write;
        const std::uint64_t what = (event.readable ? io::ready(read) : 0) | (event.writable ? io::ready(write) : 0) |
                                   (event.read_ended ? io::ended(read) : 0) |
                                   (event.write_ended ? io::ended(write) : 0);
        slot& place = slot_at(static_cast<std::uint32_t>(event.id));
        if (place.generation != event.id >> 32 || place.target == nullptr) return;
        place.target->raise(what, claim);
    }

    poller kernel_;
    std::size_t collected_ = 0;
    std::atomic<std::size_t> owners_{1};
    alignas(cache_line) spin_lock polling_;
    alignas(cache_line) std::atomic<std::size_t> registrations_{0};
    spin_lock slots_;  // guards what is in the slots, and the list of free ones
    slot* free_ = nullptr;
    int blocks_made_ = 0;
    std::atomic<slot*> blocks_[most_blocks] = {};
};

}  // namespace fiber::engine
