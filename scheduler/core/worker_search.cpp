// Where a worker's next runnable comes from: its own queue, what others handed in, its timers, other workers' queues;
// and how it waits when there is none. The fast half is take(); everything from find_work() on runs only when the queue
// is empty.
#include <algorithm>
#include <cstdint>
#include <ctime>

#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/scheduler.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::engine {

namespace {

// Outside work and timers wait at most so many turns; prime, against resonance.
constexpr std::uint32_t turns_per_beat = 61;
constexpr std::size_t injected_per_beat = 64;

constexpr int search_rounds = 24;  // about 1 us each: bench spawn_one, two workers
constexpr int pauses_per_round = 24;
constexpr std::size_t rounds_left_to_owner = 2;

// A nap costs its system calls, and what comes in it waits for one who is already running: see nap().
constexpr long nap_ns = 50'000;
constexpr int rounds_after_nap = 3;

constexpr std::uint32_t beats_per_evening_out = 16;  // some tens of us
constexpr std::size_t least_to_even_out = 128;
constexpr std::size_t most_to_even_out = 512;

}  // namespace

// --- own queue ---

void worker::push_fresh(task_slot& task) noexcept {
    submitted_.store(submitted_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    push(task);
}

void worker::push_woken(task_slot& task) noexcept { expiring_ ? push_expired(task) : push(task); }

// A fiber whose timer has expired is late already: behind ten thousand fresh tasks it would be later by the time that
// these take (bench sleep_10k). In order among themselves; there are no more of them than timers that were due.
void worker::push_expired(task_slot& task) noexcept {
    try {
        expired_.push(&task);
        some_expired_ = true;
    } catch (const std::bad_alloc&) {
        scheduler_.inject(task);
    }
}

__attribute__((noinline)) task_slot* worker::take_expired() noexcept {
    task_slot* first = expired_.take();
    some_expired_ = expired_.peek_top() != nullptr;
    if (const task_slot* later = expired_.peek(1)) prefetch_stack(*later);
    return first;
}

// Lets due() expire timers, and what they wake go first. One notification is enough: who finds work and sees that there
// is more notifies another.
template <class Expire>
inline void worker::expire(Expire due) noexcept {
    expiring_ = true;
    due();
    expiring_ = false;
    if (alone_ || !some_expired_) return;
    expired_.share();
    scheduler_.notify_one();
}

// A joiner takes a task that nobody has started: physically, or else by its state, which leaves the entry behind.
worker::claim worker::take_out_of_queue(task_slot& task) noexcept {
    if (&scheduler_.tasks() != task.pool || task.is(task_slot::started)) return claim::none;
    if (deque_.pop_if(&task) || deque_.take_if(&task)) return claim::removed;
    const bool removed = deque_.remove_recent(&task);
    if (!alone_) scheduler_.notify_one();  // entries were out of sight for a moment
    if (removed) return claim::removed;
    return claim_without_entry(task.state) ? claim::entry_left : claim::none;
}

// Of a lone worker: timers, outside work and what goes first are older than the task that yields.
__attribute__((noinline)) task_slot* worker::take_in_turn(task_slot& yielding) noexcept {
    if (!some_expired_ && deque_.size() == 0 && !poll_all()) return &yielding;
    if (beat_in_ == 0) beat();
    push(yielding);
    return take();
}

// Where others may run it: the task that yields goes into the queue only when its stack is free (after_switch). Itself
// if there is no other; nullptr if a thief was faster.
__attribute__((noinline)) task_slot* worker::take_among_others(task_slot& yielding) noexcept {
    if (deque_.size() == 0 && !poll_all()) return &yielding;
    departed_how_ = departure::yield;
    return take();
}

__attribute__((noinline)) task_slot* worker::accept_or_take(task_slot* entry) noexcept {
    task_slot* task = accept(entry);
    return task != nullptr ? task : take();
}

// --- outside work and timers ---

__attribute__((noinline)) void worker::beat() noexcept {
    beat_in_ = turns_per_beat;
    poll_all();
    if (!alone_ && beats_++ % beats_per_evening_out == 0) even_out();
}

// Takes over a part of a queue that is longer than this worker's own: what stands there would come to its turn
// less often, and workers that all are busy do not search (bench yield_many).
void worker::even_out() noexcept {
    worker_shared& other = scheduler_.worker_at(beats_ / beats_per_evening_out % scheduler_.worker_count());
    const std::size_t mine = deque_.size();
    const std::size_t theirs = other.deque_.size();
    if (theirs < mine + mine / 8 + least_to_even_out) return;
    other.deque_.ask();
    const std::size_t wanted = std::min((theirs - mine) / 2, most_to_even_out);
    try {
        deque_.reserve(wanted);
    } catch (const std::bad_alloc&) {
        return;
    }
    const auto taken = other.deque_.steal_half(deque_, wanted);
    if (taken.verdict == steal_verdict::taken) push(*taken.item);
}

// Of a runtime that does no input or output, one load.
inline void worker::poll_io() noexcept {
    if (scheduler_.io().active()) [[unlikely]]
        scheduler_.io().poll_if_due();
}

bool worker::poll_all() noexcept {
    poll_io();
    return poll();
}

// Takes in what others handed over and what has become due. Returns whether the queue has something now.
bool worker::poll() noexcept {
    if (!scheduler_.injected().empty()) take_in_injected();
    if (timers_.next() != never) {
        const nanos now = scheduler_.now();
        if (timers_.next() <= now) expire([&] { timers_.expire(now); });
    }
    return some_expired_ || deque_.size() != 0;
}

void worker::take_in_injected() noexcept {
    try {
        deque_.reserve(injected_per_beat);
    } catch (const std::bad_alloc&) {
        return;  // the next beat tries again
    }
    scheduler_.injected().pop_batch(
        [this](task_slot& task) {
            task.state.fetch_and(~task_slot::injected, std::memory_order_relaxed);  // the deque publishes it
            deque_.push(&task);
            if (alone_) return;
            deque_.share();
            scheduler_.notify_one();
        },
        injected_per_beat);
}

void worker::arm(timer& node, nanos deadline) noexcept {
    if (timers_.arm(node, deadline) == arm_verdict::earliest && !alone_) scheduler_.timer_armed(deadline);
}

// --- nothing of one's own ---

// Returns with a task, or nullptr when the scheduler has finished.
task_slot* worker::find_work() noexcept {
    bool searching = !alone_ && scheduler_.idle().begin_search();
    int rounds = search_rounds;
    for (;;) {
        task_slot* task = nullptr;
        if (!alone_) poll_io();  // a lone worker goes to wait for it at once
        if (poll()) task = take();
        if (task == nullptr && searching) task = search(rounds);
        if (task != nullptr) {
            if (searching) stop_searching();
            return task;
        }
        if (scheduler_.check_finished()) {
            if (searching) (void)scheduler_.idle().found();
            return nullptr;
        }
        if (searching && crumbs_) {
            nap();
            rounds = rounds_after_nap;
            continue;
        }
        rounds = search_rounds;
        searching = wait_for_work(searching);
        if (!searching && !alone_) searching = scheduler_.idle().begin_search();
    }
}

void worker::stop_searching() noexcept {
    if (scheduler_.idle().found() != found_verdict::notify_another) return;
    scheduler_.work_visible() ? scheduler_.notify_one() : scheduler_.appoint_keeper();
}

// Others are at work, and leave nothing worth taking. Still counted as searching, so that none of them spends a wake-up
// on this worker at each of its pushes; they look at timers and at outside work themselves, at each beat. Several who
// nap share the looking out among them.
void worker::nap() noexcept {
    const timespec length{0, nap_ns * std::min(scheduler_.idle().searching(), 16u)};
    ::nanosleep(&length, nullptr);
}

// Looks a bounded while at everybody's queues.
task_slot* worker::search(int rounds) noexcept {
    const unsigned workers = scheduler_.worker_count();
    for (int round = 0; round < rounds; ++round) {
        crumbs_ = false;
        random_ = random_ * 1664525u + 1013904223u;
        const unsigned first = random_ % workers;
        for (unsigned i = 0; i < workers; ++i) {
            worker_shared& victim = scheduler_.worker_at((first + i) % workers);
            if (&victim == this) continue;
            if (task_slot* task = steal_from(victim)) return task;
        }
        expire([&] { scheduler_.expire_due_timers(); });
        if (poll_all()) {
            if (task_slot* task = take()) return task;
        }
        for (int i = 0; i < pauses_per_round; ++i) cpu_pause();
    }
    return nullptr;
}

// Half of what waits there. Crumbs are left to their owner: what it will have come to within two rounds, at the pace of
// the last one, and a lone entry that has not stood there since. To carry them elsewhere takes longer than to run them,
// and what they hand to one another would cross between processors each time (bench mutex, channel_mpmc on two
// workers).
task_slot* worker::steal_from(worker_shared& victim) noexcept {
    sighting& last = sightings_[victim.index_];
    const std::size_t expired = victim.expired_.size();
    const sighting now{victim.submitted_.load(std::memory_order_relaxed), victim.turn_.load(std::memory_order_relaxed),
                       victim.deque_.size() + expired};
    const std::uint32_t turns = now.turn - last.turn;
    const std::size_t soon = rounds_left_to_owner * turns;
    const bool stuck = turns == 0 && now.submitted == last.submitted;
    const bool same_entry = now.size == 1 && last.size == 1;
    last = now;
    if (!stuck) crumbs_ = true;
    if (now.size <= 1 + soon && !(same_entry && stuck)) return nullptr;
    task_slot* entry = nullptr;
    if (expired > soon && (entry = steal_half(victim.expired_, expired_, stuck)) != nullptr) some_expired_ = true;
    if (entry == nullptr) entry = steal_half(victim.deque_, deque_, stuck);
    return entry != nullptr ? accept_or_take(entry) : nullptr;
}

// The first of what it takes; the others lie in `into`. Of a victim that is stuck, also what its owner has kept for
// itself: it will not push for a while.
task_slot* worker::steal_half(task_queue& from, task_queue& into, bool stuck) noexcept {
    const auto taken = from.steal_half(into);
    if (taken.verdict != steal_verdict::empty) return taken.item;
    from.ask();
    if (!stuck) return nullptr;
    from.expose();
    return from.steal_half(into).item;
}

// Waits until notified, or until a timer is due or a descriptor is ready. Returns whether a notifier has counted this
// worker as searching.
bool worker::wait_for_work(bool searching) noexcept {
    idle_set& idle = scheduler_.idle();
    idle.begin_wait(idle_, searching);
    // The look after the announcement (idle set, P1): whoever published before it and saw nobody waiting is seen here.
    const bool stay = !scheduler_.work_visible() && !scheduler_.check_finished();
    auto kept = scheduler::keeping::not_kept;
    const bool notified = stay && scheduler_.sleep(*this, kept);
    if (!notified && idle.cancel_wait(idle_) == cancel_wait_verdict::running) {
        scheduler_.pass_on_keeping(kept);
        return false;
    }
    // The notifier may be between two instructions. A kick is no notification: taken for one, it would count this
    // worker out of the searching once too often, and nobody would ever be notified again.
    while (!(idle_.word.load(std::memory_order_acquire) & idle_member::notified)) cpu_pause();
    idle_.word.store(0, std::memory_order_relaxed);
    scheduler_.pass_on_keeping(kept);
    return true;
}

}  // namespace fiber::engine
