// Which workers search for work and which wait: the protocol by which work finds a worker and no wake-up is lost.
// One per scheduler. Any thread notifies; a worker announces its own steps.
//
//   running --begin_search--> searching --found--> running
//   running or searching --begin_wait--> waiting --taken by a notifier--> searching    (the notifier counts it,
//                                            \--cancel_wait--> running                     before it wakes)
//
// The word counts the searching workers in its low half and the waiting ones in its high half; the list says which
// wait, the latest first, so that the one that has waited longest (it keeps the timers) is disturbed last. The lock
// guards the list and is taken on the way into and out of a wait only.
//
// Invariant: a notifier that sees a searching worker may leave: before that worker waits it looks at every queue once
// more, after its announcement. So at most one wake-up is under way that has not yet looked: no wake storm.
//
// Orders, by pair:
//   P1  publish work: store, light barrier, load of the word  <>  begin_wait: RMW of the word, heavy barrier, then a
//       look at every queue. One of them sees the other: no item is left behind with everybody asleep.
//   P2  publish work: as above  <>  found by the last searcher: RMW, heavy barrier, then a look at every queue and
//       notify. It takes over the duty of those notifiers that left because of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "scheduler/base/asymmetric_barrier.hpp"
#include "scheduler/base/intrusive_list.hpp"
#include "scheduler/base/spin_lock.hpp"

namespace fiber::engine {

enum class found_verdict : std::uint8_t { leave, notify_another };
enum class cancel_wait_verdict : std::uint8_t {
    running,
    notified
};  // notified: a notifier has counted it as searching

// A worker's place in the set, and the word that it sleeps on. A notifier sets `notified`; whoever has other news for a
// sleeper (an earlier timer) sets `kicked`, which says nothing of the set. A sleeper that waits elsewhere than on the
// word says so there by `elsewhere`: whoever sets another bit then wakes it there.
template <template <class> class Atomic = std::atomic>
struct basic_idle_member : list_node {
    static constexpr std::uint32_t notified = 1;
    static constexpr std::uint32_t kicked = 2;
    static constexpr std::uint32_t elsewhere = 4;
    Atomic<std::uint32_t> word{0};
};

// Atomic, Lock, Barrier: the real ones, or a model checker's stand-ins.
template <template <class> class Atomic = std::atomic, class Lock = spin_lock, class Barrier = asymmetric_barrier>
class basic_idle_set {
 public:
    using member = basic_idle_member<Atomic>;

    explicit basic_idle_set(std::uint32_t workers) noexcept : most_searching_((workers + 1) / 2), lone_(workers == 1) {}

    // After work was published. Any thread. Returns the member that the caller must wake, or nullptr.
    // The common case, a worker that searches or nobody who waits, is one load.
    [[nodiscard]] member* notify() noexcept {
        Barrier::light();                                                  // P1, P2
        const std::uint64_t seen = word_.load(std::memory_order_seq_cst);  // P1
        if (waiting_in(seen) == 0 || searching_in(seen) != 0) return nullptr;
        std::lock_guard guard(lock_);
        return searching_in(word_.load(std::memory_order_seq_cst)) != 0 ? nullptr : take_locked();
    }

    // The same, whoever may be searching: for shutdown and for handing a role to a waiting worker.
    [[nodiscard]] member* notify_always() noexcept {
        std::lock_guard guard(lock_);
        return take_locked();
    }

    // A worker without work asks to search. false: enough others do; it should wait.
    [[nodiscard]] bool begin_search() noexcept {
        std::uint64_t seen = word_.load(std::memory_order_relaxed);
        while (searching_in(seen) < most_searching_) {
            if (word_.compare_exchange_weak(seen, seen + one_searching, std::memory_order_seq_cst,
                                            std::memory_order_relaxed)) {
                return true;
            }
        }
        return false;
    }

    // A searching worker has work. If told so, it looks at every queue and, if there is more, notifies another.
    [[nodiscard]] found_verdict found() noexcept {
        const std::uint64_t before = word_.fetch_sub(one_searching, std::memory_order_seq_cst);  // P2
        if (searching_in(before) != 1 || waiting_in(before) == 0) return found_verdict::leave;
        Barrier::heavy();  // P2
        return found_verdict::notify_another;
    }

    // Announces that a worker is about to wait. It must look at every queue afterwards and, if it sees work,
    // cancel_wait().
    void begin_wait(member& self, bool was_searching) noexcept {
        {
            std::lock_guard guard(lock_);
            waiting_.push_front(self);
            word_.fetch_add(one_waiting - (was_searching ? one_searching : 0), std::memory_order_seq_cst);
        }
        if (!lone_) Barrier::heavy();  // P1; what others hand to a lone worker, they publish by a seq_cst store
    }

    // Takes the announcement back, if no notifier has taken this worker yet.
    [[nodiscard]] cancel_wait_verdict cancel_wait(member& self) noexcept {
        std::lock_guard guard(lock_);
        if (!self.linked()) return cancel_wait_verdict::notified;
        self.unlink();
        word_.fetch_sub(one_waiting, std::memory_order_seq_cst);
        return cancel_wait_verdict::running;
    }

    // Any thread. Hints.
    std::uint32_t waiting() const noexcept { return waiting_in(word_.load(std::memory_order_seq_cst)); }
    std::uint32_t searching() const noexcept { return searching_in(word_.load(std::memory_order_relaxed)); }

 private:
    static constexpr std::uint64_t one_searching = 1;
    static constexpr std::uint64_t one_waiting = std::uint64_t{1} << 32;

    static std::uint32_t searching_in(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word); }
    static std::uint32_t waiting_in(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word >> 32); }

    member* take_locked() noexcept {
        member* chosen = waiting_.pop_front();
        if (chosen != nullptr) word_.fetch_add(one_searching - one_waiting, std::memory_order_seq_cst);
        return chosen;
    }

    const std::uint32_t most_searching_;
    const bool lone_;
    alignas(cache_line) Atomic<std::uint64_t> word_{0};
    Lock lock_;
    intrusive_list<member> waiting_;
};

using idle_member = basic_idle_member<>;
using idle_set = basic_idle_set<>;

}  // namespace fiber::engine
