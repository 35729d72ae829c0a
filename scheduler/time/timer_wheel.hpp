// Hierarchical timer wheel (Varghese & Lauck 1987): arm and cancel are O(1), nodes are intrusive, neither allocates.
// The wheel reads no clock: it is told the time. No thread safety of its own: whoever owns the wheel guards it.
//
// Tick j covers the deadlines in (j, j + 1] * tick_length, so that a tick's whole slot is due at the tick's end.
// Times are counted in ticks since the smallest `nanos`. What is due within the next 134 ms (up to horizon()) stands in
// the near ring, which has a slot for each tick: such a node is not touched again before it is due. What is later
// stands on the far levels, by the base-64 digits of its unit of 64 ticks, and comes nearer unit by unit as the horizon
// moves: never all at once (bench sleep_storm).
// Invariants, between calls:
//   I1  A node with tick t < horizon() stands in the near slot t % near_slots. Another stands, with u = t / unit and
//       h = horizon() / unit, on the far level of the highest digit in which u and h differ, in the slot of u's digit
//       there; on level 0 if u == h. Hence what is nearer or stands on a lower level is due earlier, and nodes of one
//       tick always stand in one slot.
//   I2  A node that was armed late (deadline <= now_) stands in the slot of current_.
//   I3  A bit of occupied_ is set if and only if its slot's ring holds a node, and one of near_words_ if and only if
//       that word of occupied_ is not 0. The ring of a slot without its bit is not initialised.
//   I4  A far ring, and that of due nodes, is linked both ways, in order of arming. A near ring is linked forwards, the
//       latest first: the node before is written into a node only when one of its ring is cancelled. Until then prev
//       is the ring, as at first; so arming does not wait for the memory of a node that may lie idle for long.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "scheduler/base/check.hpp"
#include "scheduler/base/clock.hpp"
#include "scheduler/time/timer_node.hpp"

namespace fiber::engine {

class timer_wheel {
 public:
    static constexpr int tick_bits = 14;
    static constexpr nanos tick_length = nanos{1} << tick_bits;

    // Requires: now != never. Throws std::bad_alloc. The memory of slots that are never used is not touched.
    explicit timer_wheel(nanos now);
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

    // O(1); amortised, where many nodes stand in one tick. False when the node was not armed: it has expired, or was
    // never armed. Requires: node is not armed in another wheel.
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
    // O(ticks passed / 64 + delivered * log(delivered in one slot)), and each node comes nearer once per level at most.
    // When `each` throws, what was not delivered stays armed and is delivered by the next expire().
    template <class F>
    std::size_t expire(nanos now, F&& each) {
        if (now > now_) now_ = now == never ? never - 1 : now;
        if (now_ >= current_min_ || tick_of(now_) != current_) advance();
        std::size_t delivered = 0;
        while (occupied(due_ring)) {
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

    static constexpr unsigned near_slots = 8192;
    static constexpr unsigned near_words = near_slots / 64;
    static constexpr int unit_bits = 6;
    static constexpr tick unit = tick{1} << unit_bits;
    static constexpr int slot_bits = 6;
    static constexpr unsigned slots = 1U << slot_bits;
    // Eight digits of six bits hold every unit's number, and a horizon beyond the last: no deadline needs clamping.
    static constexpr unsigned levels = 8;
    static_assert(levels * slot_bits > 64 - tick_bits - unit_bits);
    // Two more rings: nodes on their way out, and nodes without an end.
    static constexpr ring_index due_ring = near_slots + levels * slots;
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
    static constexpr unsigned digit(tick units, unsigned level) noexcept {
        return static_cast<unsigned>(units >> (level * slot_bits)) % slots;
    }
    static constexpr ring_index near_slot(tick t) noexcept { return static_cast<ring_index>(t % near_slots); }
    static constexpr ring_index far_slot(unsigned level, unsigned digit) noexcept {
        return near_slots + level * slots + digit;
    }
    // The first tick that is not near.
    tick horizon() const noexcept { return (current_ & ~(unit - 1)) + near_slots; }

    static timer_node& node_of(timer_link* link) noexcept { return *static_cast<timer_node*>(link); }

    timer_link& ring(ring_index index) noexcept { return rings_.get()[index]; }
    const timer_link& ring(ring_index index) const noexcept { return rings_.get()[index]; }
    static constexpr std::uint64_t bit(unsigned position) noexcept { return std::uint64_t{1} << (position % 64); }
    bool occupied(ring_index index) const noexcept { return occupied_[index / 64] & bit(index); }
    void mark(ring_index index) noexcept {
        occupied_[index / 64] |= bit(index);
        if (index < near_slots) near_words_[index / 64 / 64] |= bit(index / 64);
    }
    void unmark(ring_index index) noexcept {
        const std::uint64_t left = occupied_[index / 64] &= ~bit(index);
        if (left == 0 && index < near_slots) near_words_[index / 64 / 64] &= ~bit(index / 64);
    }

    // Links the node where I1 and I2 want it.
    void place(timer_node& node) noexcept {
        const nanos deadline = node.deadline_;
        tick t = current_;
        if (deadline > now_) {
            if (deadline == never) return append(endless_ring, node);
            t = tick_of(deadline - 1);
        }
        if (t == current_ && deadline < current_min_) current_min_ = deadline;
        const tick end_of_near = horizon();
        if (t < end_of_near) return push(near_slot(t), node);
        const tick units = t >> unit_bits;
        const unsigned level = level_of(units ^ (end_of_near >> unit_bits));
        append(far_slot(level, digit(units, level)), node);
    }

    // To a near ring.
    void push(ring_index index, timer_node& node) noexcept {
        timer_link& end = ring(index);
        if (!occupied(index)) {
            end.next = &end;
            mark(index);
        }
        node.next = end.next;
        node.prev = &end;
        end.next = &node;
    }

    // To any other.
    void append(ring_index index, timer_node& node) noexcept {
        timer_link& end = ring(index);
        if (!occupied(index)) {
            node.next = node.prev = &end;
            end.next = end.prev = &node;
            return mark(index);
        }
        node.next = &end;
        node.prev = end.prev;
        end.prev->next = &node;
        end.prev = &node;
    }

    void unlink(timer_node& node) noexcept {
        if (node.prev->next != &node) [[unlikely]]
            link_back(*node.prev);
        timer_link* next = node.next;
        timer_link* prev = node.prev;
        prev->next = next;
        next->prev = prev;
        node.next = node.prev = nullptr;
        // Alone between two links that are one: that one is the ring's own, and tells by its address which slot it is.
        if (next == prev) unmark(static_cast<ring_index>(next - rings_.get()));
    }

    void advance() noexcept;
    void turn_to(tick target) noexcept;
    void take_near(tick end) noexcept;
    void prefetch_from(tick first) noexcept;
    void take_due_of_current() noexcept;
    void bring_nearer(tick old_horizon) noexcept;
    void bring_nearer(unsigned level, std::uint64_t which, bool some_are_due) noexcept;
    tick first_near(tick from) const noexcept;
    unsigned first_near_word(unsigned from) const noexcept;
    void take_due(ring_index from) noexcept;
    void place_all(timer_link* link) noexcept;
    timer_link* take_out(ring_index from) noexcept;
    static void link_back(timer_link& end) noexcept;
    static timer_link* sorted(timer_link* chain) noexcept;
    static bool in_order(timer_link* chain) noexcept;
    static timer_link* merge(timer_link* earlier, timer_link* later) noexcept;
    nanos first_look_at(ring_index index, tick start) const noexcept;

    nanos now_;
    tick current_;               // tick_of(now_)
    tick fetched_end_ = 0;       // of what prefetch_from() has fetched
    nanos current_min_ = never;  // no deadline in the slot of current_ is earlier
    std::size_t size_ = 0;       // all armed nodes, also in the two extra rings
    std::array<std::uint64_t, near_words / 64> near_words_{};
    std::array<std::uint64_t, near_words + levels + 1> occupied_{};
    struct free_memory {
        void operator()(timer_link* rings) const noexcept { ::operator delete(rings); }
    };
    const std::unique_ptr<timer_link, free_memory> rings_;
};

}  // namespace fiber::engine
