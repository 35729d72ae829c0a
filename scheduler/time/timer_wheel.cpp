// The slow paths of the timer wheel: moving time, sorting a slot, asking for the next expiry.
#include "scheduler/time/timer_wheel.hpp"

#include <algorithm>

namespace fiber::engine {

namespace {

constexpr std::uint64_t bits_below(unsigned position) noexcept { return (std::uint64_t{1} << position) - 1; }

}  // namespace

timer_wheel::timer_wheel(nanos now) noexcept : now_(now), current_(tick_of(now)) {
    for (timer_link& ring : rings_) ring.next = ring.prev = &ring;
}

// The first time at which the whole tick is due. The last tick ends beyond the clock's range: `never` would mean that
// nobody need call.
nanos timer_wheel::end_of(tick t) noexcept { return t == tick_of(never) ? never - 1 : start_of(t + 1); }

// Brings the slots up to now_ and collects what is due in the ring of due nodes.
void timer_wheel::advance() noexcept {
    const tick target = tick_of(now_);
    if (target != current_) turn_to(target);
    take_due_of_current();
}

// By I1 only one level, the one on which the old and the new time differ, has slots before, at and after the new time:
// all levels below are due as a whole, none above is touched. So a turn costs the same for a tick and for a year.
void timer_wheel::turn_to(tick target) noexcept {
    const unsigned top = level_of(target ^ current_);
    for (unsigned level = 0; level < top; ++level) take_slots(level, ~std::uint64_t{0});
    take_slots(top, bits_below(digit(target, top)));
    current_ = target;
    current_min_ = never;
    const ring_index now_inside = slot_of(top, digit(target, top));
    if (top > 0) {
        move_down(now_inside);
    } else if (ring(now_inside).next != &ring(now_inside)) {
        current_min_ = start_of(target);
    }
}

// Empties the slots whose bits stand in `which` into the ring of due nodes, in order of deadline.
void timer_wheel::take_slots(unsigned level, std::uint64_t which) noexcept {
    for (std::uint64_t left = occupied_[level] & which; left != 0; left &= left - 1) {
        const ring_index index = slot_of(level, static_cast<unsigned>(std::countr_zero(left)));
        sort(index);
        move_to_due(index, &ring(index));
    }
}

void timer_wheel::take_due_of_current() noexcept {
    if (now_ < current_min_) return;
    const ring_index index = slot_of(0, digit(current_, 0));
    timer_link* end = &ring(index);
    sort(index);
    timer_link* later = end->next;
    while (later != end && node_of(later).deadline_ <= now_) later = later->next;
    current_min_ = later == end ? never : node_of(later).deadline_;
    move_to_due(index, later);
}

// Re-places the nodes of a slot that time has just entered; in order, so that I1's order of arming holds below.
void timer_wheel::move_down(ring_index from) noexcept {
    timer_link& end = ring(from);
    timer_link* link = end.next;
    end.next = end.prev = &end;
    unmark(from);
    while (link != &end) {
        timer_node& node = node_of(link);
        link = link->next;
        place(node);
    }
}

// Moves the nodes before `end` of a slot behind those that are already due.
void timer_wheel::move_to_due(ring_index from, timer_link* end) noexcept {
    timer_link& source = ring(from);
    timer_link& due = ring(due_ring);
    timer_link* first = source.next;
    if (first == end) return;
    timer_link* last = end->prev;
    source.next = end;
    end->prev = &source;
    if (end == &source) unmark(from);
    first->prev = due.prev;
    due.prev->next = first;
    last->next = &due;
    due.prev = last;
    mark(due_ring);
}

// Stable merge sort of one ring by deadline. Costs one look at each node when the order is right already, as it is when
// all time-outs have one length.
void timer_wheel::sort(ring_index index) noexcept {
    timer_link& end = ring(index);
    if (in_order(end)) return;
    end.prev->next = nullptr;
    // As when counting in binary: a run of 2^i nodes waits in waiting[i] for a second one to carry over with.
    std::array<timer_link*, 64> waiting{};
    for (timer_link* rest = end.next; rest != nullptr;) {
        timer_link* run = std::exchange(rest, rest->next);
        run->next = nullptr;
        unsigned size = 0;
        for (; waiting[size] != nullptr; ++size) run = merge(std::exchange(waiting[size], nullptr), run);
        waiting[size] = run;
    }
    timer_link* sorted = nullptr;
    for (timer_link* run : waiting) sorted = merge(run, sorted);

    timer_link* last = &end;
    for (timer_link* link = sorted; link != nullptr; last = std::exchange(link, link->next)) {
        last->next = link;
        link->prev = last;
    }
    last->next = &end;
    end.prev = last;
}

bool timer_wheel::in_order(const timer_link& end) noexcept {
    nanos before = std::numeric_limits<nanos>::min();
    for (timer_link* link = end.next; link != &end; link = link->next) {
        const nanos deadline = node_of(link).deadline_;
        if (deadline < before) return false;
        before = deadline;
    }
    return true;
}

// Merges two sorted chains, which end with a null pointer. Of equal deadlines those of `earlier` go first.
timer_link* timer_wheel::merge(timer_link* earlier, timer_link* later) noexcept {
    timer_link* merged = nullptr;
    timer_link** tail = &merged;
    while (earlier != nullptr && later != nullptr) {
        timer_link*& smaller = node_of(later).deadline_ < node_of(earlier).deadline_ ? later : earlier;
        *tail = smaller;
        tail = &smaller->next;
        smaller = smaller->next;
    }
    *tail = earlier != nullptr ? earlier : later;
    return merged;
}

// When to look at an occupied slot of an upper level, whose first tick is `start`.
nanos timer_wheel::first_look_at(ring_index index, tick start) const noexcept {
    // With few nodes their true minimum costs less than being woken at every level on the way down: an idle process
    // with a handful of long timers then wakes for their deadlines only.
    constexpr int few = 8;
    const timer_link* link = ring(index).next;
    nanos earliest = never;
    for (int seen = 0; seen < few; ++seen, link = link->next) {
        if (link == &ring(index)) return end_of(tick_of(earliest - 1));
        earliest = std::min(earliest, static_cast<const timer_node*>(link)->deadline_);
    }
    return link == &ring(index) ? end_of(tick_of(earliest - 1)) : start_of(start);
}

nanos timer_wheel::next_expiry() const noexcept {
    if (ring(due_ring).next != &ring(due_ring) || current_min_ <= now_) return now_;
    for (unsigned level = 0; level < levels; ++level) {
        if (occupied_[level] == 0) continue;
        const unsigned first = static_cast<unsigned>(std::countr_zero(occupied_[level]));
        const unsigned below = level * slot_bits;
        const tick start = (((current_ >> below) & ~tick{slots - 1}) | first) << below;
        return level == 0 ? end_of(start) : first_look_at(slot_of(level, first), start);
    }
    return never;
}

}  // namespace fiber::engine
