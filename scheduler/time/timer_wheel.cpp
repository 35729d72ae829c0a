// The slow paths of the timer wheel: moving time, sorting a slot, asking for the next expiry.
#include "scheduler/time/timer_wheel.hpp"

#include <algorithm>
#include <limits>

#include "scheduler/base/spin_lock.hpp"

namespace fiber::engine {

timer_wheel::timer_wheel(nanos now)
    : now_(now),
      current_(tick_of(now)),
      rings_(static_cast<timer_link*>(::operator new((endless_ring + 1) * sizeof(timer_link)))) {}

// The first time at which the whole tick is due. The last tick ends beyond the clock's range: `never` would mean that
// nobody need call.
nanos timer_wheel::end_of(tick t) noexcept { return t == tick_of(never) ? never - 1 : start_of(t + 1); }

// Brings the slots up to now_ and collects what is due in the ring of due nodes.
void timer_wheel::advance() noexcept {
    const tick target = tick_of(now_);
    if (target != current_) turn_to(target);
    take_due_of_current();
}

void timer_wheel::turn_to(tick target) noexcept {
    const tick old_horizon = horizon();
    take_near(std::min(target, old_horizon));
    current_ = target;
    if (horizon() != old_horizon) bring_nearer(old_horizon);
    current_min_ = occupied(near_slot(target)) ? start_of(target) : never;
}

// Empties the near slots before tick `end` into the ring of due nodes, in order of deadline.
void timer_wheel::take_near(tick end) noexcept {
    for (tick t = first_near(current_); t < end; t = first_near(t + 1)) {
        if (t >= fetched_end_) prefetch_from(t);
        take_due(near_slot(t));
    }
}

namespace {

// A node that is due, and around it what its waiter touches next: most nodes stand in the frame of a fiber that sleeps.
inline void prefetch_frame(const timer_link* node) noexcept {
    const auto* at = reinterpret_cast<const char*>(node);
    for (int line = -2; line <= 2; ++line) __builtin_prefetch(at + line * static_cast<int>(cache_line));
}

}  // namespace

// Fetches the nodes of a few slots, also of some that are due next. A node's link is known only when the one before it
// has come from memory: so the rings are walked side by side, one step of each in turn, and the steps of different
// rings wait together (bench sleep_storm).
void timer_wheel::prefetch_from(tick first) noexcept {
    constexpr tick reach = 16;
    constexpr int most_steps = 64;  // what was fetched must still be there when it is sorted
    std::array<ring_index, 8> which;
    std::array<const timer_link*, 8> at;
    std::size_t count = 0;
    for (tick t = first; t < first + reach && count < which.size(); t = first_near(t + 1)) {
        which[count] = near_slot(t);
        prefetch_frame(at[count] = ring(near_slot(t)).next);
        ++count;
        fetched_end_ = t + 1;
    }
    if (count < 2) return;
    std::size_t ended = 0;
    for (int step = 0; step < most_steps && ended < count; ++step) {
        ended = 0;
        for (std::size_t i = 0; i < count; ++i) {
            if (at[i] == &ring(which[i])) {
                ++ended;
            } else {
                prefetch_frame(at[i] = at[i]->next);
            }
        }
    }
}

void timer_wheel::take_due_of_current() noexcept {
    if (now_ < current_min_) return;
    current_min_ = never;  // place() will tell
    if (occupied(near_slot(current_))) take_due(near_slot(current_));
}

// Of a slot: what is due goes behind what already is, in order of deadline; the rest is placed anew.
void timer_wheel::take_due(ring_index from) noexcept {
    timer_link* link = sorted(take_out(from));
    while (link != nullptr && node_of(link).deadline_ <= now_)
        append(due_ring, node_of(std::exchange(link, link->next)));
    place_all(link);
}

void timer_wheel::place_all(timer_link* link) noexcept {
    while (link != nullptr) place(node_of(std::exchange(link, link->next)));
}

// Empties a slot. Its nodes in order of arming, as a chain that ends with a null pointer.
timer_link* timer_wheel::take_out(ring_index from) noexcept {
    timer_link& end = ring(from);
    timer_link* link = end.next;
    unmark(from);
    if (from >= near_slots) {
        end.prev->next = nullptr;
        return link;
    }
    timer_link* chain = nullptr;
    while (link != &end) {
        timer_link* next = link->next;
        link->next = chain;
        chain = std::exchange(link, next);
    }
    return chain;
}

// Of a near slot whose nodes do not all know the one before: makes it known to them. Only those that came since the
// last time do not know it, and they stand in front (I4).
void timer_wheel::link_back(timer_link& end) noexcept {
    timer_link* before = end.next;
    for (timer_link* link = before->next; link != &end && link->prev == &end; link = link->next) {
        link->prev = before;
        before = link;
    }
}

// The horizon has moved. By I1 only one level, the one on which the old and the new one differ, has slots before, at
// and after the new one: all levels below come nearer as a whole, none above is touched. So a turn costs the same for a
// unit and for a year.
void timer_wheel::bring_nearer(tick old_horizon) noexcept {
    const bool some_are_due = old_horizon <= current_;
    const tick from = old_horizon >> unit_bits;
    const tick to = horizon() >> unit_bits;
    const unsigned top = level_of(from ^ to);
    for (unsigned level = 0; level < top; ++level) bring_nearer(level, ~std::uint64_t{0}, some_are_due);
    const std::uint64_t inside = std::uint64_t{1} << digit(to, top);
    bring_nearer(top, top > 0 ? inside | (inside - 1) : inside - 1, some_are_due);
}

// Re-places the nodes of the slots whose bits stand in `which`, in order of time.
void timer_wheel::bring_nearer(unsigned level, std::uint64_t which, bool some_are_due) noexcept {
    for (std::uint64_t left = occupied_[near_words + level] & which; left != 0; left &= left - 1) {
        const ring_index index = far_slot(level, static_cast<unsigned>(std::countr_zero(left)));
        some_are_due ? take_due(index) : place_all(take_out(index));
    }
}

// The first occupied tick from `from` on; the largest number if there is none. An occupied tick before `from` counts as
// one lap later: at or beyond the horizon.
timer_wheel::tick timer_wheel::first_near(tick from) const noexcept {
    const ring_index start = near_slot(from);
    if (const std::uint64_t rest = occupied_[start / 64] >> (start % 64)) {
        return from + static_cast<unsigned>(std::countr_zero(rest));
    }
    const unsigned word = first_near_word((start / 64 + 1) % near_words);
    if (word == near_words) return ~tick{0};
    const ring_index found = word * 64 + static_cast<unsigned>(std::countr_zero(occupied_[word]));
    return from + (found - start) % near_slots;
}

// The first word of the near ring that is not 0, from `from` on and around; near_words if all are.
unsigned timer_wheel::first_near_word(unsigned from) const noexcept {
    static_assert(near_words == 128);
    const unsigned half = from / 64;
    const auto first_of = [this](unsigned which) {
        return which * 64 + static_cast<unsigned>(std::countr_zero(near_words_[which]));
    };
    if (const std::uint64_t rest = near_words_[half] >> (from % 64)) {
        return from + static_cast<unsigned>(std::countr_zero(rest));
    }
    if (near_words_[1 - half] != 0) return first_of(1 - half);
    return near_words_[half] != 0 ? first_of(half) : near_words;
}

// Stable merge sort of a chain by deadline. Costs one look at each node when the order is right already, as it is when
// all time-outs have one length.
timer_link* timer_wheel::sorted(timer_link* chain) noexcept {
    if (in_order(chain)) return chain;
    // As when counting in binary: a run of 2^i nodes waits in waiting[i] for a second one to carry over with.
    std::array<timer_link*, 64> waiting{};
    for (timer_link* rest = chain; rest != nullptr;) {
        timer_link* run = std::exchange(rest, rest->next);
        run->next = nullptr;
        unsigned size = 0;
        for (; waiting[size] != nullptr; ++size) run = merge(std::exchange(waiting[size], nullptr), run);
        waiting[size] = run;
    }
    timer_link* all = nullptr;
    for (timer_link* run : waiting) all = merge(run, all);
    return all;
}

bool timer_wheel::in_order(timer_link* chain) noexcept {
    nanos before = std::numeric_limits<nanos>::min();
    for (timer_link* link = chain; link != nullptr; link = link->next) {
        const nanos deadline = node_of(link).deadline_;
        if (deadline < before) return false;
        before = deadline;
    }
    return true;
}

// Merges two sorted chains. Of equal deadlines those of `earlier` go first.
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
    if (occupied(due_ring) || current_min_ <= now_) return now_;
    const tick near = first_near(current_);
    if (near != ~tick{0}) return end_of(near);
    const tick units = horizon() >> unit_bits;
    for (unsigned level = 0; level < levels; ++level) {
        const std::uint64_t found = occupied_[near_words + level];
        if (found == 0) continue;
        const auto first = static_cast<unsigned>(std::countr_zero(found));
        const unsigned below = level * slot_bits;
        const tick start = (((units >> below) & ~tick{slots - 1}) | first) << below;
        return first_look_at(far_slot(level, first), start << unit_bits);
    }
    return never;
}

}  // namespace fiber::engine
