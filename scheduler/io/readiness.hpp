// What is known of one open descriptor: may it be read, may it be written, who waits for that, who uses it now.
// One per descriptor, for life. The kernel's edges come in through raise(); it knows neither the kernel nor what a
// waiter is: it keeps list_nodes and hands them to whoever raises or closes, to be claimed under the lock.
//
// The word (a guarded_word: its lock also guards the two lists):
//   ready      for each direction: an operation may succeed. Set by an edge; taken by who tries the operation
//   ended      for each direction: hang-up, error, or urgent data, at which reads stop. There may be no further edge,
//              so `ready` is not taken from it until the operation has said EAGAIN (take_all)
//   closed     close() was called; nobody enters any more
//   users      how many are between enter() and leave(): the last of them gives a closed descriptor back
//
// Invariants:
//   I1  `ready` is taken before the system call, never cleared after it. So an edge that arrives while the call runs
//       stands afterwards. Who finds that there may be more puts it back (raise); who found all (EAGAIN, or less than
//       asked for) leaves it taken, and waits.
//   I2  While `ready` stands for a direction, or `closed`, nobody waits for it: raise() and close() hand out all
//       waiters, and await() refuses to add one.
//   I3  The descriptor is given back exactly once: by close() if nobody uses it, else by the last leave().
//   I4  An edge that meets a lone waiter goes with it and is not set: that waiter has taken `ready`. Several waiters
//       find it set, and take it.
//
// Orders, by pair (all through the word's lock):
//   P1  raise: lock, set ready, hand out  <>  await: lock, look, add. One sees the other: no edge is slept through.
//   P2  close: lock, set closed, look at users  <>  enter, leave: lock, look at closed, count. One of them gives back.
#pragma once

#include <cstdint>

#include "scheduler/base/atomic.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/base/intrusive_list.hpp"

namespace fiber::engine {

enum class io_direction : std::uint8_t { read = 0, write = 1 };

enum class enter_verdict : std::uint8_t { ready, not_ready, closed };  // closed: not entered
enum class leave_verdict : std::uint8_t { stays_open, give_back };     // give_back: the caller closes it
enum class await_verdict : std::uint8_t { waiting, ready, closed };    // waiting: in the list; ready: taken
enum class close_verdict : std::uint8_t { give_back, left_to_users, was_closed };

template <template <class> class Atomic = atomic, class Spin = polite_spin>
class basic_readiness {
 public:
    // What raise() is told.
    static constexpr std::uint64_t ready(io_direction d) noexcept { return std::uint64_t{2} << static_cast<int>(d); }
    static constexpr std::uint64_t ended(io_direction d) noexcept { return std::uint64_t{8} << static_cast<int>(d); }

    // At first anything may be tried.
    basic_readiness() noexcept : word_(ready(io_direction::read) | ready(io_direction::write)) {}
    basic_readiness(const basic_readiness&) = delete;
    basic_readiness& operator=(const basic_readiness&) = delete;

    // --- Whoever uses the descriptor. Any thread. ---

    // Becomes a user, and says whether an operation may succeed now. `taking`: as take() does, in one step.
    [[nodiscard]] enter_verdict enter(io_direction d, bool taking) noexcept {
        const std::uint64_t seen = change([d, taking](std::uint64_t before) {  // P2
            return (before & closed) ? before : (taking ? taken(before, d) : before) + one_user;
        });
        if (seen & closed) return enter_verdict::closed;
        return (seen & ready(d)) ? enter_verdict::ready : enter_verdict::not_ready;
    }

    [[nodiscard]] leave_verdict leave() noexcept {
        const std::uint64_t left = change([](std::uint64_t before) { return before - one_user; }) - one_user;  // P2
        return (left & closed) && left < one_user ? leave_verdict::give_back : leave_verdict::stays_open;
    }

    // Takes `ready` (I1). false: it did not stand; there is nothing to try.
    [[nodiscard]] bool take(io_direction d) noexcept {
        return change([d](std::uint64_t before) { return taken(before, d); }) & ready(d);
    }

    // Takes `ready` and `ended`: for one who was told that the descriptor has ended, and found that it goes on (the
    // pending error of a datagram socket is such an end). An operation must be tried after this, before it waits.
    void take_all(io_direction d) noexcept {
        (void)change([d](std::uint64_t before) { return before & ~(ready(d) | ended(d)); });
    }

    bool is_ready(io_direction d) const noexcept { return word_.load() & (ready(d) | closed); }
    bool has_ended(io_direction d) const noexcept { return word_.load() & ended(d); }
    bool is_closed() const noexcept { return word_.load() & closed; }

    // Takes `ready`; if it does not stand, adds `node` to those who wait. Requires: the caller is a user.
    [[nodiscard]] await_verdict await(io_direction d, list_node& node) noexcept { return await_as(0, d, node); }
    // The same for one who becomes a user by it; not if it is closed.
    [[nodiscard]] await_verdict enter_and_await(io_direction d, list_node& node) noexcept {
        return await_as(one_user, d, node);
    }

    // Afterwards nobody knows of `node`.
    void withdraw(list_node& node) noexcept {
        const std::uint64_t seen = word_.lock();
        if (node.linked()) node.unlink();
        word_.unlock(seen);
    }

    // --- Whoever brings news. Any thread. ---

    // claim(list_node&, bool alone) is called under the lock for each that waits for it, and returns whether it was to
    // be had. alone: the edge goes with it (I4).

    // `what`: ready() and ended() of one or both directions.
    template <class Claim>
    void raise(std::uint64_t what, Claim claim) noexcept {
        const std::uint64_t seen = word_.lock();  // P1
        for (const io_direction d : {io_direction::read, io_direction::write}) {
            if ((what & ready(d)) && hand_out(d, claim) && !(what & ended(d))) what &= ~ready(d);  // I4
        }
        word_.unlock(seen | what);
    }

    template <class Claim>
    [[nodiscard]] close_verdict close(Claim claim) noexcept {
        const std::uint64_t seen = word_.lock();  // P2
        for (const io_direction d : {io_direction::read, io_direction::write}) (void)hand_out(d, claim);
        word_.unlock(seen | closed);
        if (seen & closed) return close_verdict::was_closed;
        return seen < one_user ? close_verdict::give_back : close_verdict::left_to_users;
    }

 private:
    static constexpr std::uint64_t closed = 32;
    static constexpr std::uint64_t one_user = 256;

    static constexpr std::uint64_t taken(std::uint64_t seen, io_direction d) noexcept {
        return (seen & ended(d)) ? seen : seen & ~ready(d);
    }

    // What touches no list needs no lock: one RMW. Returns what was there before.
    template <class Next>
    std::uint64_t change(Next next) noexcept {
        std::uint64_t seen = word_.load(std::memory_order_relaxed);
        while (!(seen & word::locked)) {
            if (word_.try_change(seen, next(seen), std::memory_order_acq_rel)) [[likely]]
                return seen;
        }
        seen = word_.lock();
        word_.unlock(next(seen));
        return seen;
    }

    await_verdict await_as(std::uint64_t user, io_direction d, list_node& node) noexcept {
        const std::uint64_t seen = word_.lock();  // P1, P2
        if (!(seen & (ready(d) | closed))) [[likely]] {
            waiting_[static_cast<int>(d)].push_back(node);
            word_.unlock(seen + user);
            return await_verdict::waiting;
        }
        word_.unlock((seen & closed) ? seen : taken(seen, d) + user);
        return (seen & closed) ? await_verdict::closed : await_verdict::ready;
    }

    // Returns whether the edge has gone with a lone waiter.
    template <class Claim>
    bool hand_out(io_direction d, Claim& claim) noexcept {
        intrusive_list<list_node>& waiting = waiting_[static_cast<int>(d)];
        list_node* first = waiting.pop_front();
        if (first == nullptr) return false;
        if (waiting.empty()) return claim(*first, true);
        for (; first != nullptr; first = waiting.pop_front()) (void)claim(*first, false);
        return false;
    }

    using word = basic_guarded_word<Atomic, Spin>;
    word word_;
    intrusive_list<list_node> waiting_[2];
};

using readiness = basic_readiness<>;

}  // namespace fiber::engine
