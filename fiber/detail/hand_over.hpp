// Items that change hands between those who push and those who pop: the one core of channel, the queues and select.
// Any thread, any fiber; everything is guarded by one spin lock, and nothing allocates on a wait.
//
// Whoever must wait leaves an entry: where its item is, or is wanted. The partner that comes later claims the entry's
// waiter, moves the item straight out of or into the frame that waits, and completes the waiter after unlocking.
// Claimed means done: a cancellation or a time-out that comes later finds the item handed over, and stays pending. Not
// claimed means untouched: the item is where it was, and the owner of the entry takes it back under the lock.
//
// Invariants, whenever the lock is free (an entry is open until its waiter is claimed):
//   I1  an open pop entry: not closed, the store is empty, and any open push entry belongs to the same select.
//   I2  an open push entry: not closed, and the store is full.
// So no wake can be lost: nobody waits for what is there. Proof, by who changes what:
//   push     hands to an open pop entry first, so it fills the store only when there is none (I1); waits only if full
//            (I2).
//   pop      frees a place and at once fills it from the first open push entry, until full or none is open (I2); waits
//            only if the store is empty and no push entry is open (I1).
//   close    claims every open entry.
//   leaving  (time-out, cancellation, another case of a select) removes one's own entry, which no invariant asks for; a
//            partner that meets it meanwhile fails to claim and goes on to the next entry.
// Wakes are as rare as that allows: in a full store a burst of pops wakes each pusher once, not once an item, for who
// is woken finds the room, or the items, that came before its turn.
//
// An item's move constructor (in a priority_queue its comparison, too) runs under the lock: it must not wait. It may
// throw: what throws in the caller's own hands is the caller's exception and nothing has happened; what throws in the
// hands of a partner is repeated by its owner (verdict `repeat`).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "scheduler/core/wait.hpp"

namespace fiber::detail {

enum class hand_over_verdict : std::uint8_t {
    done,     // the item has changed hands
    closed,   // it never will
    blocked,  // not now: the partner, the item or the room is missing
    repeat,   // the item's move threw in the partner's hands; the owner tries again
    timed_out,
    cancelled,
};

// Throws `cancelled` if one is to be delivered.
void cancellation_point();

// One side of a hand-over that waits. In the frame of whoever waits; `who` and `item` are set while it is in a list.
struct hand_over_entry : engine::list_node {
    hand_over_entry() noexcept = default;
    hand_over_entry(engine::waiter& waiter, void* place) noexcept : who(&waiter), item(place) {}

    // The winner of the claim, under the lock: says what has become of the entry.
    void settle(hand_over_verdict how, engine::wake_list& woken) noexcept {
        outcome = how;
        who->handed = this;
        woken.push_back(*who);
    }

    engine::waiter* who = nullptr;
    void* item = nullptr;  // push: the T to be moved from; pop: the std::optional<T> to be filled
    engine::guarded<hand_over_verdict> outcome = hand_over_verdict::blocked;
};

// Entries in the order in which they came. Under the lock of its hand_over.
class hand_over_list {
 public:
    bool empty() const noexcept { return entries_.empty(); }
    void push_back(hand_over_entry& entry) noexcept { entries_.push_back(entry); }

    // The first entry that is still to be had; the caller settles it. nullptr: there is none.
    hand_over_entry* claim_first() noexcept {
        while (hand_over_entry* first = entries_.pop_front()) {
            if (first->who->claim(engine::wake_reason::notified)) return first;
        }
        return nullptr;
    }

 private:
    engine::intrusive_list<hand_over_entry> entries_;
};

// A section under one lock. On the way out it unlocks, and then completes the waiters that were claimed in it.
class hand_over_section {
 public:
    explicit hand_over_section(engine::spin_lock& lock) noexcept : lock_(&lock) { lock.lock(); }
    ~hand_over_section() {
        if (lock_ == nullptr) return;
        lock_->unlock();
        woken.complete_all();
    }
    hand_over_section(const hand_over_section&) = delete;
    hand_over_section& operator=(const hand_over_section&) = delete;

    // Somebody else unlocks. Requires: nobody was claimed.
    void dismiss() noexcept { lock_ = nullptr; }

    engine::wake_list woken;

 private:
    engine::spin_lock* lock_;
};

// What does not depend on the item's type.
class hand_over_base {
 public:
    hand_over_base() = default;
    hand_over_base(const hand_over_base&) = delete;
    hand_over_base& operator=(const hand_over_base&) = delete;

    engine::spin_lock& lock() const noexcept { return lock_; }
    hand_over_list& poppers() noexcept { return poppers_; }
    hand_over_list& pushers() noexcept { return pushers_; }

    bool closed() const noexcept {
        const hand_over_section here(lock_);
        return closed_;
    }

    // Everyone who waits, and everyone who comes, learns of it; what is in the store can still be popped. false: it was
    // closed already. Requires: the lock is held.
    bool close_locked(engine::wake_list& woken) noexcept;

 protected:
    ~hand_over_base() { FIBER_ASSERT(poppers_.empty() && pushers_.empty()); }

    // Waits in `list` with `item`. Called with the lock held, returns with it released. Not: blocked.
    hand_over_verdict wait_and_unlock(hand_over_list& list, void* item, engine::nanos deadline) noexcept;

    mutable engine::spin_lock lock_;
    bool closed_ = false;
    hand_over_list poppers_;
    hand_over_list pushers_;
};

// Store: keeps items that nobody waits for. bool empty(), bool full(), push(T&&) when not full, pop_into(optional&)
// when not empty (both without effect if they throw), and entered(), which is told of each item that came in, also of
// one that was handed on at once.
template <class T, class Store>
class alignas(engine::cache_line) hand_over : public hand_over_base {
 public:
    template <class... A>
    explicit hand_over(A&&... arguments) : store_(std::forward<A>(arguments)...) {}
    ~hand_over() = default;

    // --- Requires: the lock is held. done, closed or blocked; only `done` has touched the item. ---

    hand_over_verdict push_locked(T& item, engine::wake_list& woken) {
        if (closed_) return hand_over_verdict::closed;
        if (!poppers_.empty() && hand_to_popper(item, woken)) return hand_over_verdict::done;
        if (store_.full()) return hand_over_verdict::blocked;
        store_.push(std::move(item));
        store_.entered();
        return hand_over_verdict::done;
    }

    hand_over_verdict pop_locked(std::optional<T>& into, engine::wake_list& woken) {
        if (!store_.empty()) {
            store_.pop_into(into);
            if (!pushers_.empty()) refill(woken);
            return hand_over_verdict::done;
        }
        // With a store that can hold anything, no push entry is open now (I2).
        if (!pushers_.empty() && take_from_pusher(into, woken)) return hand_over_verdict::done;
        return closed_ ? hand_over_verdict::closed : hand_over_verdict::blocked;
    }

    // --- Takes the lock ---

    hand_over_verdict try_push(T& item) {
        hand_over_section here(lock_);
        return push_locked(item, here.woken);
    }
    hand_over_verdict try_pop(std::optional<T>& into) {
        hand_over_section here(lock_);
        return pop_locked(into, here.woken);
    }

    // Waits until it can be done. done, closed or timed_out. Cancellation point.
    hand_over_verdict push(T& item, engine::nanos deadline) {
        cancellation_point();
        for (;;) {
            {
                hand_over_section here(lock_);
                const hand_over_verdict got = push_locked(item, here.woken);
                if (got != hand_over_verdict::blocked) [[likely]]
                    return got;
                here.dismiss();
            }
            const hand_over_verdict got = wait_and_unlock(pushers_, &item, deadline);
            if (is_final(got)) return got;
        }
    }
    hand_over_verdict pop(std::optional<T>& into, engine::nanos deadline) {
        cancellation_point();
        for (;;) {
            {
                hand_over_section here(lock_);
                const hand_over_verdict got = pop_locked(into, here.woken);
                if (got != hand_over_verdict::blocked) [[likely]]
                    return got;
                here.dismiss();
            }
            const hand_over_verdict got = wait_and_unlock(poppers_, &into, deadline);
            if (is_final(got)) return got;
        }
    }

    // The store. Under the lock, but for what never changes in it.
    Store& store() noexcept { return store_; }
    const Store& store() const noexcept { return store_; }

    std::size_t size() const noexcept {
        const hand_over_section here(lock_);
        return store_.size();
    }

 private:
    static bool is_final(hand_over_verdict got) {
        if (got == hand_over_verdict::cancelled) [[unlikely]]
            cancellation_point();  // returns if the cancellation was taken back meanwhile
        return got != hand_over_verdict::cancelled && got != hand_over_verdict::repeat;
    }

    // false: no pop entry was open any more.
    bool hand_to_popper(T& item, engine::wake_list& woken) {
        hand_over_entry* popper = poppers_.claim_first();
        if (popper == nullptr) return false;
        try {
            static_cast<std::optional<T>*>(popper->item)->emplace(std::move(item));
        } catch (...) {
            popper->settle(hand_over_verdict::repeat, woken);
            throw;
        }
        popper->settle(hand_over_verdict::done, woken);
        store_.entered();
        return true;
    }

    bool take_from_pusher(std::optional<T>& into, engine::wake_list& woken) {
        hand_over_entry* pusher = pushers_.claim_first();
        if (pusher == nullptr) return false;
        try {
            into.emplace(std::move(*static_cast<T*>(pusher->item)));
        } catch (...) {
            pusher->settle(hand_over_verdict::repeat, woken);
            throw;
        }
        pusher->settle(hand_over_verdict::done, woken);
        store_.entered();
        return true;
    }

    // I2: goes on until the store is full or no push entry is open, also when an item's move throws.
    void refill(engine::wake_list& woken) noexcept {
        while (!store_.full()) {
            hand_over_entry* pusher = pushers_.claim_first();
            if (pusher == nullptr) return;
            try {
                store_.push(std::move(*static_cast<T*>(pusher->item)));
                store_.entered();
                pusher->settle(hand_over_verdict::done, woken);
            } catch (...) {
                pusher->settle(hand_over_verdict::repeat, woken);
            }
        }
    }

    Store store_;
};

}  // namespace fiber::detail
