// Work-stealing deque (Chase & Lev 2005; orders after Lê et al. 2013, with ordered accesses in place of their fences,
// which ThreadSanitizer does not model). The owner pushes and pops at the bottom and takes at the top; anyone steals at
// the top. It holds T*, owns none of them, and no item is nullptr. Indices count 64 bits and never wrap.
// Invariant: top <= bottom, except inside pop(), where the owner claims a slot first and looks for thieves second. Only
// the owner writes bottom and slots. top only grows; what thieves may have leaves at top by a CAS on top alone.
//
// The border: thieves take only what lies below it, so that the owner removes what lies above without a full barrier,
// which would cost it as much as all the rest (bench fib, yield_many). A thief that finds nothing there asks, and the
// owner raises it at its next push (share); for an owner that does not push, because it computes, the thief does so, by
// a heavy barrier (expose). The border stands twice: as thieves see it and as the owner sees it, never lower for the
// owner. Whoever moves it holds moving_; the owner does not wait for that. (A split deque: van Dijk, van de Pol 2014.)
//
// Orders, by pair:
//   P1  push: release store of bottom  ->  steal: load of bottom. The thief sees the slot, the ring and the whole task.
//       (pop's store of bottom publishes the older entries again, in the same way.)
//   P2  pop: store bottom, load top  <>  steal: load top, load bottom; all four seq_cst. One of them sees the other: if
//       pop, having given up index i, still reads top < i, then a thief that reads top == i reads bottom <= i or what a
//       later push stored there. So pop takes without a CAS only what no thief can hold.
//   P3  steal: CAS on top  <>  pop, take, take_if: CAS on top. One wins each index. While top == i nobody but that
//       winner removes entry i, so a CAS from i that succeeds proves what was read from slot i.
//   P4  steal: slot load, CAS on top  ->  make_room: acquire load of top. A slot is written again only after the thief
//       that emptied it has read it.
//   P5  grow: release store of the ring  ->  steal: acquire load. The thief sees the copied slots. A thief still in the
//       old ring reads the same entry there: old rings are never written again and live as long as the deque.
//   P6  push: store of bottom, then (caller) light barrier, load of the idle word  <>  (caller) change of the idle
//       word, heavy barrier, then empty(). One of them sees the other: no item is left while everybody falls asleep. It
//       is the only pair that asks more of push than a release.
//   P7  remove_recent: store bottom, load top  <>  steal: load top, load bottom; all seq_cst, as P2. If the owner,
//       having lowered bottom to `at`, still reads top < at, no thief holds or can get an entry from `at` on until
//       bottom rises.
//   P8  pop, remove_recent: store bottom, light barrier, load the owner's border  <>  expose: store the owner's border,
//       heavy barrier, release store of the thieves' border  ->  steal: load of it, load bottom. Either the owner sees
//       that the entry is no longer its alone, or thieves see that it is gone.
//   P9  lower_border: store the thieves' border, load top  <>  steal: load top, load the thieves' border; all seq_cst.
//       A thief that still goes by the old border has read a top that is no higher, and takes that entry or none.
//   P10 take, take_if: store taking, light barrier, load the owner's border  <>  expose: store the owner's border,
//       heavy barrier, load taking and top. Either the owner sees that thieves may have the entry, or the thief that
//       the owner is about to take it, and gives up.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "scheduler/base/asymmetric_barrier.hpp"
#include "scheduler/base/check.hpp"
#include "scheduler/base/spin_lock.hpp"

namespace fiber::engine {

enum class steal_verdict : unsigned char { taken, empty, lost };  // lost: another took that one first, look again

// Atomic, Barrier: the real ones, or a model checker's stand-ins.
template <class T, template <class> class Atomic = std::atomic, class Barrier = asymmetric_barrier>
class work_stealing_deque {
 public:
    // one_worker: no thief can exist, and no operation of the owner costs an RMW or a fence.
    enum class sharing { one_worker, stealable };

    struct stolen {
        steal_verdict verdict;
        T* item;  // nullptr unless taken
    };

    // The capacity is rounded up to a power of two. Throws std::bad_alloc.
    explicit work_stealing_deque(sharing mode, std::size_t initial_capacity = 256)
        : own_(make_ring(round_up(initial_capacity), nullptr)), mode_(mode) {
        ring_.store(own_, std::memory_order_relaxed);
    }

    work_stealing_deque(const work_stealing_deque&) = delete;
    work_stealing_deque& operator=(const work_stealing_deque&) = delete;

    // Requires: no thread uses the deque any more. Entries still in it are dropped, not destroyed.
    ~work_stealing_deque() {
        while (own_ != nullptr) {
            ring* older = own_->older;
            free_ring(own_);
            own_ = older;
        }
    }

    // Owner only. Adds at the bottom. Grows when full; throws std::bad_alloc before anything has changed.
    [[gnu::always_inline]] void push(T* item) {
        FIBER_ASSERT(item != nullptr);
        const index bottom = bottom_.load(std::memory_order_relaxed);
        if (bottom - top_seen_ >= own_->capacity()) [[unlikely]] {
            make_room(bottom);
        }
        own_->slot(bottom).store(item, std::memory_order_relaxed);  // P1 publishes it
        publish(bottom + 1);
    }

    // Owner only. The next `more` pushes will not fail. Throws std::bad_alloc.
    void reserve(std::size_t more) {
        const index end = bottom_.load(std::memory_order_relaxed) + static_cast<index>(more);
        while (end - top_seen_ > own_->capacity()) make_room(end);
    }

    // Owner only. Removes the newest entry; nullptr when empty.
    [[gnu::always_inline]] T* pop() noexcept {
        const index bottom = bottom_.load(std::memory_order_relaxed);
        // Of what is private the owner knows; for the rest P2 looks again.
        if (top_.load(std::memory_order_relaxed) == bottom) return nullptr;
        const index last = bottom - 1;
        T* item = own_->slot(last).load(std::memory_order_relaxed);
        bottom_.store(last, std::memory_order_release);  // P1
        if (mode_ == sharing::one_worker || is_private(last)) [[likely]]
            return item;
        return pop_shared(last) ? item : nullptr;
    }

    // Owner only, after a push: if a thief has asked for it, half is for thieves.
    [[gnu::always_inline]] void share() {
        if (asked_.load(std::memory_order_relaxed)) [[unlikely]]
            share_half();
    }

    // Owner only. Removes the newest entry if it is `item`; false: it is not, or a thief has it.
    [[gnu::always_inline]] bool pop_if(T* item) noexcept {
        const index bottom = bottom_.load(std::memory_order_relaxed);
        // Below an empty deque's bottom lies a left-over that may equal `item`: pop() sees that the deque is empty.
        if (own_->slot(bottom - 1).load(std::memory_order_relaxed) != item) return false;
        return pop() != nullptr;
    }

    // Owner only. Removes the oldest entry; goes on to the next when a thief was faster; nullptr when empty.
    [[gnu::always_inline]] T* take() noexcept {
        const index bottom = bottom_.load(std::memory_order_relaxed);
        for (;;) {
            const index top = top_.load(std::memory_order_relaxed);  // P3 or P10 proves it
            if (top == bottom) return nullptr;
            T* item = own_->slot(top).load(std::memory_order_relaxed);
            if (claim_oldest(top)) return item;
        }
    }

    // Owner only. Removes the oldest entry and adds `item` as the newest, which needs no room; nullptr when empty, and
    // then nothing has been added. Requires: one_worker.
    [[gnu::always_inline]] T* exchange_top(T* item) noexcept {
        FIBER_ASSERT(mode_ == sharing::one_worker);
        const index top = top_.load(std::memory_order_relaxed);
        const index bottom = bottom_.load(std::memory_order_relaxed);
        if (top == bottom) return nullptr;
        T* oldest = own_->slot(top).load(std::memory_order_relaxed);  // before the store: of a full ring it is one slot
        own_->slot(bottom).store(item, std::memory_order_relaxed);
        top_.store(top + 1, std::memory_order_relaxed);
        bottom_.store(bottom + 1, std::memory_order_relaxed);
        return oldest;
    }

    // Owner only. Removes the oldest entry if it is `item`; false: it is not, or a thief has it.
    [[gnu::always_inline]] bool take_if(T* item) noexcept {
        const index top = top_.load(std::memory_order_relaxed);  // P3 or P10 proves it
        if (top == bottom_.load(std::memory_order_relaxed)) return false;
        return own_->slot(top).load(std::memory_order_relaxed) == item && claim_oldest(top);
    }

    // Owner only. Removes `item` if it is one of the newest few entries; the others keep their order. false: it is not,
    // or thieves are as far as that. The entries above it are out of sight for a moment: the caller looks at the idle
    // word afterwards, as after a push (P6).
    bool remove_recent(T* item) noexcept {
        const index bottom = bottom_.load(std::memory_order_relaxed);
        const index top = top_.load(std::memory_order_relaxed);  // P7 looks again
        const index end = bottom - top > reach ? bottom - reach : top;
        // Siblings that are joined in order are all found where the first was: the later ones have moved down there.
        if (recent_ >= end && recent_ < bottom && own_->slot(recent_).load(std::memory_order_relaxed) == item) {
            return remove_at(recent_, bottom);
        }
        for (index at = bottom - 1; at >= end; --at) {
            if (own_->slot(at).load(std::memory_order_relaxed) == item) return remove_at(recent_ = at, bottom);
        }
        return false;
    }

    // Owner only. The oldest entry, perhaps already stolen; nullptr when it looks empty. A hint.
    [[gnu::always_inline]] T* peek_top() const noexcept { return peek(0); }

    // Owner only. The entry that is `behind` places behind the oldest, perhaps already stolen: a hint for prefetching;
    // nullptr when there is none.
    [[gnu::always_inline]] T* peek(std::int64_t behind) const noexcept {
        const index at = top_.load(std::memory_order_relaxed) + behind;
        if (at >= bottom_.load(std::memory_order_relaxed)) return nullptr;
        return own_->slot(at).load(std::memory_order_relaxed);
    }

    // Any thread. Removes the oldest entry, if thieves may. Requires: stealable.
    stolen steal() noexcept {
        FIBER_ASSERT(mode_ == sharing::stealable);
        const index top = top_.load(std::memory_order_seq_cst);  // P2, P9
        if (top >= stealable_end()) return {steal_verdict::empty, nullptr};
        return steal_at(top);
    }

    // Any thread that found nothing to steal. Asks the owner to share() at its next push.
    void ask() {
        if (!asked_.load(std::memory_order_relaxed)) asked_.store(true, std::memory_order_relaxed);
    }

    // Any thread. Lets thieves have half of what the owner has kept for itself: for one that seems to have other things
    // to do. Interrupts every thread of the process that is running. Requires: stealable.
    [[gnu::noinline]] void expose() {
        FIBER_ASSERT(mode_ == sharing::stealable);
        if (moving_.exchange(true, std::memory_order_acquire)) return;  // another is at it, or the owner is
        const index top = top_.load(std::memory_order_acquire);
        const index bottom = bottom_.load(std::memory_order_acquire);
        const index before = own_border_.load(std::memory_order_relaxed);
        const index border = top + (bottom - top + 1) / 2;
        if (border > before) {
            own_border_.store(border, std::memory_order_relaxed);
            Barrier::heavy();  // P8, P10
            const bool owner_takes = taking_.load(std::memory_order_relaxed) > top_.load(std::memory_order_relaxed);
            if (owner_takes) {
                own_border_.store(before, std::memory_order_relaxed);
            } else {
                thieves_border_.store(border, std::memory_order_seq_cst);  // P8
            }
        }
        moving_.store(false, std::memory_order_release);
    }

    // Thief, which owns `into`. Removes up to half of the entries, oldest first and as far as thieves may: at least
    // one, at most `limit`, and no more than `into` holds without growing. Returns the oldest, to be run at once; the
    // others lie in `into`, in order. Requires: stealable, &into != this, limit > 0.
    stolen steal_half(work_stealing_deque& into, std::size_t limit = 64) noexcept {
        FIBER_ASSERT(mode_ == sharing::stealable && &into != this && limit > 0);
        const index top = top_.load(std::memory_order_seq_cst);  // P2, P9
        if (top >= stealable_end()) return {steal_verdict::empty, nullptr};
        index wanted = (bottom_.load(std::memory_order_relaxed) - top + 1) / 2;
        if (wanted > static_cast<index>(limit)) wanted = static_cast<index>(limit);
        const stolen first = steal_at(top);
        if (first.verdict == steal_verdict::taken && wanted > 1) into.move_from(*this, top + 1, wanted - 1);
        return first;
    }

    // Any thread. A hint.
    std::size_t size() const noexcept {
        const index top = top_.load(std::memory_order_relaxed);
        const index bottom = bottom_.load(std::memory_order_relaxed);
        return bottom > top ? static_cast<std::size_t>(bottom - top) : 0;
    }

    // Any thread. What was pushed before the caller's own place in the order of P6 is seen.
    bool empty() const noexcept {
        if (mode_ == sharing::one_worker) return size() == 0;
        const index top = top_.load(std::memory_order_acquire);  // P6
        return top >= bottom_.load(std::memory_order_acquire);   // P6
    }

 private:
    using index = std::int64_t;
    static constexpr index reach = 16;  // of remove_recent: a fan-out of ten per level (bench skynet), and some
    using slot_type = Atomic<T*>;
    static_assert(alignof(slot_type) <= cache_line);

    // Header of one allocation; the slots follow it.
    struct alignas(cache_line) ring {
        ring* older;
        index mask;

        index capacity() const noexcept { return mask + 1; }
        slot_type* slots() noexcept { return std::launder(reinterpret_cast<slot_type*>(this + 1)); }
        slot_type& slot(index at) noexcept { return slots()[at & mask]; }
    };

    static index round_up(std::size_t wanted) noexcept {
        index capacity = 1;
        while (static_cast<std::size_t>(capacity) < wanted) capacity *= 2;
        return capacity;
    }

    static ring* make_ring(index capacity, ring* older) {
        const std::size_t bytes = sizeof(ring) + static_cast<std::size_t>(capacity) * sizeof(slot_type);
        void* memory = ::operator new (bytes, std::align_val_t{alignof(ring)});
        ring* made = ::new (memory) ring{older, capacity - 1};
        for (index i = 0; i < capacity; ++i) ::new (reinterpret_cast<slot_type*>(made + 1) + i) slot_type(nullptr);
        return made;
    }

    static void free_ring(ring* dead) noexcept {
        for (index i = 0; i < dead->capacity(); ++i) dead->slot(i).~slot_type();
        ::operator delete (dead, std::align_val_t{alignof(ring)});
    }

    // Owner only. The slots below `bottom` are written; makes them entries.
    [[gnu::always_inline]] void publish(index bottom) noexcept {
        bottom_.store(bottom, std::memory_order_release);  // P1, P6
    }

    // Owner only. Removes the entry at `top`; false when a thief was faster.
    [[gnu::always_inline]] bool claim_oldest(index top) noexcept {
        if (mode_ == sharing::stealable) {
            taking_.store(top + 1, std::memory_order_relaxed);  // P10
            if (!is_private(top)) return claim_top(top);
        }
        top_.store(top + 1, std::memory_order_release);
        return true;
    }

    // Owner only. The same, of an entry that thieves may have.
    bool claim_top(index top) noexcept {
        return top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst, std::memory_order_relaxed);  // P3
    }

    // Owner only. As a pop of everything from `at` upwards, and a push of all but the first: what thieves cannot hold
    // may be moved.
    bool remove_at(index at, index bottom) noexcept {
        bottom_.store(at, std::memory_order_release);  // P1
        if (mode_ == sharing::stealable && !is_private(at)) {
            bottom_.store(at, std::memory_order_seq_cst);      // P7
            if (top_.load(std::memory_order_seq_cst) >= at) {  // P7
                publish(bottom);
                return false;
            }
        }
        for (index i = at; i + 1 < bottom; ++i) {
            own_->slot(i).store(own_->slot(i + 1).load(std::memory_order_relaxed), std::memory_order_relaxed);
        }
        publish(bottom - 1);
        return true;
    }

    // Owner only, having said that it removes the entry at `at`: are those from there on out of thieves' reach?
    [[gnu::always_inline]] bool is_private(index at) const noexcept {
        Barrier::light();  // P8, P10
        return at >= own_border_.load(std::memory_order_relaxed);
    }

    // Owner only. pop() has lowered bottom to `last`, which thieves may have: settles who has it.
    [[gnu::noinline]] bool pop_shared(index last) noexcept {
        bottom_.store(last, std::memory_order_seq_cst);          // P2
        const index top = top_.load(std::memory_order_seq_cst);  // P2
        if (top < last) {
            lower_border(top + 1);
            return true;
        }
        // By P3. Either way the deque is empty, and a thief that still reads the restored bottom loses its CAS: no
        // order needed.
        const bool won = top == last && claim_top(top);
        bottom_.store(last + 1, std::memory_order_relaxed);
        return won;
    }

    // Owner only. Thieves have had no use for so much, and the pops that follow cost less for it.
    void lower_border(index wanted) {
        if (moving_.exchange(true, std::memory_order_acquire)) return;
        thieves_border_.store(wanted, std::memory_order_seq_cst);  // P9
        const index top = top_.load(std::memory_order_seq_cst);    // P9
        const index border = top < wanted ? wanted : top + 1;
        if (border != wanted) thieves_border_.store(border, std::memory_order_seq_cst);
        own_border_.store(border, std::memory_order_relaxed);
        moving_.store(false, std::memory_order_release);
    }

    // Owner only. The newest entry is never among them: whoever has pushed it often wants it back at once (bench
    // spawn_one).
    [[gnu::noinline]] void share_half() {
        const index top = top_.load(std::memory_order_relaxed);
        const index bottom = bottom_.load(std::memory_order_relaxed);
        if (bottom - top <= 1 || moving_.exchange(true, std::memory_order_acquire)) return;
        asked_.store(false, std::memory_order_relaxed);
        const index border = top + (bottom - top) / 2;
        if (border > own_border_.load(std::memory_order_relaxed)) {
            own_border_.store(border, std::memory_order_relaxed);
            thieves_border_.store(border, std::memory_order_seq_cst);
        }
        moving_.store(false, std::memory_order_release);
    }

    // Thief, having read top.
    index stealable_end() const noexcept {
        const index border = thieves_border_.load(std::memory_order_seq_cst);  // P8, P9
        const index bottom = bottom_.load(std::memory_order_seq_cst);          // P1, P2, P8
        return border < bottom ? border : bottom;
    }

    // Owner only. Doubles the ring when it is really full. Thieves may be reading the old one, so it stays until the
    // end: each ring is half as large as its successor, so all old ones together are smaller than the one in use.
    [[gnu::noinline]] void make_room(index end) {
        top_seen_ = top_.load(std::memory_order_acquire);  // P4
        if (end - top_seen_ < own_->capacity()) return;
        ring* larger = make_ring(own_->capacity() * 2, own_);
        const index bottom = bottom_.load(std::memory_order_relaxed);
        for (index i = top_seen_; i < bottom; ++i) {
            larger->slot(i).store(own_->slot(i).load(std::memory_order_relaxed), std::memory_order_relaxed);
        }
        own_ = larger;
        ring_.store(larger, std::memory_order_release);  // P5
    }

    // Thief, having read `top` and then a bottom above it.
    stolen steal_at(index top) noexcept {
        ring* entries = ring_.load(std::memory_order_acquire);         // P5
        T* item = entries->slot(top).load(std::memory_order_relaxed);  // P1, and P3 proves it
        if (top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst,
                                         std::memory_order_relaxed)) {  // P3, P4
            return {steal_verdict::taken, item};
        }
        return {steal_verdict::lost, nullptr};
    }

    // Owner only. Steals up to `wanted` entries of `victim` from index `top` on. One CAS each: the victim's owner pops
    // without a CAS what lies above top, so a claim on a range could overlap its claim.
    [[gnu::noinline]] void move_from(work_stealing_deque& victim, index top, index wanted) noexcept {
        const index begin = bottom_.load(std::memory_order_relaxed);
        top_seen_ = top_.load(std::memory_order_acquire);  // P4
        const index room = own_->capacity() - (begin - top_seen_);
        if (wanted > room) wanted = room;
        index end = begin;
        for (; end < begin + wanted; ++end, ++top) {
            // The CAS before this was a seq_cst load of top, too: with these loads each turn is a whole steal (P2, P9).
            if (top >= victim.stealable_end()) break;
            const stolen next = victim.steal_at(top);
            if (next.verdict != steal_verdict::taken) break;
            own_->slot(end).store(next.item, std::memory_order_relaxed);  // P1 publishes it
        }
        if (end != begin) publish(end);
    }

    alignas(cache_line) Atomic<index> top_{0};     // written by the owner and by thieves
    alignas(cache_line) Atomic<index> bottom_{0};  // written by the owner, read by thieves
    Atomic<ring*> ring_{nullptr};                  // written when growing, read by thieves together with bottom
    Atomic<index> taking_{0};                      // what take() makes of top, or has made; written by the owner
    Atomic<index> thieves_border_{0};              // these seldom, and by who holds moving_
    Atomic<index> own_border_{0};
    Atomic<bool> moving_{false};
    Atomic<bool> asked_{false};
    alignas(cache_line) ring* own_;  // the same ring, without a load from a line that thieves read
    index recent_ = 0;               // owner only: where remove_recent() last found something
    index top_seen_ = 0;             // owner only: top, some time ago; it only grows
    const sharing mode_;
};

}  // namespace fiber::engine
