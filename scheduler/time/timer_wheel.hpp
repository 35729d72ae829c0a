// Hierarchical timer wheel (Varghese & Lauck 1987): arm and cancel are O(1), nodes are intrusive, nothing allocates.
// The wheel reads no clock: it is told the time. No thread safety of its own: whoever owns the wheel guards it.
//
// Tick j covers the deadlines in (j, j + 1] * tick_length, so that a tick's whole slot is due at the tick's end.
// Times are counted in ticks since the smallest `nanos`; a tick number's base-64 digits are its slots on the levels.
// Invariants, between calls:
//   I1  A node with tick t stands on the level of the highest digit in which t and current_ differ, in the slot of t's
//       digit there; on level 0 if t == current_. Hence what stands on a lower level is due earlier, and nodes of one
//       tick always stand in one slot, in order of arming.
//   I2  A node that was armed late (deadline <= now_) stands in the slot of current_.
//   I3  A bit of occupied_ is set if and only if its slot's ring holds a node.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "scheduler/base/check.hpp"
#include "scheduler/base/clock.hpp"
#include "scheduler/time/timer_node.hpp"

namespace fiber::engine {

class timer_wheel {
 public:
    static constexpr int tick_bits = 14;
    static constexpr nanos tick_length = nanos{1} << tick_bits;

    // Requires: now != never.
    explicit timer_wheel(nanos now) noexcept;
    timer_wheel(const timer_wheel&) = delete;
    timer_wheel& operator=(const timer_wheel&) = delete;
    ~timer_wheel() { FIBER_ASSERT(empty()); }

    // O(1). A deadline in the past expires at the next expire(); the deadline `never` does not expire.
    // Requires: !node.armed().
    void arm(timer_node& node, nanos deadline) noexcept {
        FIBER_ASSERT(!node.armed());
        node.deadline_ = deadline;
        ++size_;
        place(node);
    }

    // O(1). False when the node was not armed: it has expired, or was never armed.
    // Requires: node is not armed in another wheel.
    bool cancel(timer_node& node) noexcept {
        if (!node.armed()) return false;
        unlink(node);
        --size_;
        return true;
    }

    // Moves time forward to `now` (a time before the latest one counts as the latest one) and unlinks every node with
    // deadline <= now, then calls each(node) for one after the other: in order of deadline, equal deadlines in order of
    // arming. `each` may arm and cancel any node; a node that it cancels before its turn is not delivered, one that it
    // arms with a deadline in the past waits for the next expire(). Returns how many were delivered.
    // O(levels + delivered * log(delivered in one slot)), and each node moves down a level at most once per level.
    // When `each` throws, what was not delivered stays armed and is delivered by the next expire().
    template <class F>
    std::size_t expire(nanos now, F&& each) {
        if (now > now_) now_ = now == never ? never - 1 : now;
        if (now_ >= current_min_ || tick_of(now_) != current_) advance();
        std::size_t delivered = 0;
        while (ring(due_ring).next != &ring(due_ring)) {
            timer_node& node = node_of(ring(due_ring).next);
            cancel(node);
            ++delivered;
            each(node);
        }
        return delivered;
    }

    // When expire() is to be called next: never later than the end of the earliest deadline's tick. May be earlier than
    // that deadline, where many nodes must first move down a level. `never` when nothing is going to expire. O(levels).
    nanos next_expiry() const noexcept;

    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }

 private:
    using tick = std::uint64_t;
    using ring_index = unsigned;

    static constexpr int slot_bits = 6;
    static constexpr unsigned slots = 1U << slot_bits;
    // Nine digits of six bits hold every tick number (64 - tick_bits bits): no deadline needs clamping.
    static constexpr unsigned levels = (64 - tick_bits + slot_bits - 1) / slot_bits;
    // Two more rings, which use the bits of occupied_[levels]: nodes on their way out, and nodes without an end.
    static constexpr ring_index due_ring = levels * slots;
    static constexpr ring_index endless_ring = due_ring + 1;

    static constexpr std::uint64_t sign = std::uint64_t{1} << 63;

    // Flipping the sign bit maps nanos to unsigned in order, negative times included.
    static constexpr tick tick_of(nanos time) noexcept {
        return (static_cast<std::uint64_t>(time) ^ sign) >> tick_bits;
    }
    static constexpr nanos start_of(tick t) noexcept { return static_cast<nanos>((t << tick_bits) ^ sign); }
    static nanos end_of(tick t) noexcept;

    static constexpr unsigned level_of(tick difference) noexcept {
        return difference == 0 ? 0 : static_cast<unsigned>(std::bit_width(difference) - 1) / slot_bits;
    }
    static constexpr unsigned digit(tick t, unsigned level) noexcept {
        return static_cast<unsigned>(t >> (level * slot_bits)) % slots;
    }
    static constexpr ring_index slot_of(unsigned level, unsigned digit) noexcept { return level * slots + digit; }

    static timer_node& node_of(timer_link* link) noexcept { return *static_cast<timer_node*>(link); }

    timer_link& ring(ring_index index) noexcept { return rings_[index]; }
    const timer_link& ring(ring_index index) const noexcept { return rings_[index]; }
    void mark(ring_index index) noexcept { occupied_[index / slots] |= std::uint64_t{1} << (index % slots); }
    void unmark(ring_index index) noexcept { occupied_[index / slots] &= ~(std::uint64_t{1} << (index % slots)); }

    // Links the node where I1 and I2 want it.
    void place(timer_node& node) noexcept {
        const nanos deadline = node.deadline_;
        tick t = current_;
        if (deadline > now_) {
            if (deadline == never) return append(endless_ring, node);
            t = tick_of(deadline - 1);
        }
        if (t == current_ && deadline < current_min_) current_min_ = deadline;
        const unsigned level = level_of(t ^ current_);
        append(slot_of(level, digit(t, level)), node);
    }

    void append(ring_index index, timer_node& node) noexcept {
        timer_link& end = ring(index);
        node.next = &end;
        node.prev = end.prev;
        end.prev->next = &node;
        end.prev = &node;
        mark(index);
    }

    void unlink(timer_node& node) noexcept {
        timer_link* next = node.next;
        timer_link* prev = node.prev;
        prev->next = next;
        next->prev = prev;
        node.next = node.prev = nullptr;
        // Alone between two links that are one: that one is the ring's own, and tells by its address which slot it is.
        if (next == prev) unmark(static_cast<ring_index>(next - rings_.data()));
    }

    void advance() noexcept;
    void turn_to(tick target) noexcept;
    void take_slots(unsigned level, std::uint64_t which) noexcept;
    void take_due_of_current() noexcept;
    void move_down(ring_index from) noexcept;
    void move_to_due(ring_index from, timer_link* end) noexcept;
    void sort(ring_index index) noexcept;
    static bool in_order(const timer_link& end) noexcept;
    static timer_link* merge(timer_link* earlier, timer_link* later) noexcept;
    nanos first_look_at(ring_index index, tick start) const noexcept;

    nanos now_;
    tick current_;               // tick_of(now_)
    nanos current_min_ = never;  // no deadline in the slot of current_ is earlier
    std::size_t size_ = 0;       // all armed nodes, also in the two extra rings
    std::array<std::uint64_t, levels + 1> occupied_{};
    std::array<timer_link, endless_ring + 1> rings_;
};

}  // namespace fiber::engine
