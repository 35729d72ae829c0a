// First-in first-out queue for what outside threads hand to the workers.
// Intrusive: the link lies in the object, so a push never allocates and never fails. It has no bound: it holds only
// objects that exist already, so whoever made them has paid for its length.
// Thread safety: every function from any thread; a spin lock guards the list, and its sections are a few stores long.
// Invariant: size_ is the length of the list whenever the lock is free; it is 0 exactly when the list is empty.
//
// Orders, by pair:
//   P1  push: seq_cst store of size, then (caller) load of the idle word  <>  (caller) seq_cst change of the idle word,
//       then empty(): seq_cst load of size. One of them sees the other: nothing is left while everybody falls asleep.
//   The objects and their links are published by the lock alone.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>

#include "scheduler/base/check.hpp"
#include "scheduler/base/spin_lock.hpp"

namespace fiber::engine {

// Next: the member that links. It belongs to the queue from push until the object is handed out.
// Atomic, Lock: the real ones, or a model checker's stand-ins.
template <class T, T* T::*Next = &T::queue_next, template <class> class Atomic = std::atomic, class Lock = spin_lock>
class injection_queue {
 public:
    injection_queue() = default;
    injection_queue(const injection_queue&) = delete;
    injection_queue& operator=(const injection_queue&) = delete;

    // Any thread. Requires: item stands in no queue.
    void push(T& item) noexcept {
        item.*Next = nullptr;
        std::lock_guard guard(lock_);
        (last_ == nullptr ? first_ : last_->*Next) = &item;
        last_ = &item;
        add_to_size_locked(1);
    }

    // Any thread. One load.
    bool empty() const noexcept { return size_.load(std::memory_order_seq_cst) == 0; }  // P1

    // Any thread. A hint.
    std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

    // Any thread. The oldest object, nullptr when empty.
    T* pop() noexcept {
        if (empty()) return nullptr;
        return detach(1).first;
    }

    // Any thread. Calls each(T&), which must not throw, for up to `limit` objects, oldest first, outside the lock, and
    // returns how many.
    template <class F>
    std::size_t pop_batch(F&& each, std::size_t limit) noexcept {
        if (empty()) return 0;
        const chain batch = detach(limit);
        T* at = batch.first;
        for (std::size_t done = 0; done < batch.count; ++done) {
            T* next = at->*Next;  // `each` may push the object to another queue
            each(*at);
            at = next;
        }
        return batch.count;
    }

 private:
    struct chain {
        T* first = nullptr;
        T* last = nullptr;
        std::size_t count = 0;
    };

    chain detach(std::size_t limit) noexcept {
        std::lock_guard guard(lock_);
        if (first_ == nullptr || limit == 0) return {};
        chain cut{first_, first_, 1};
        while (cut.count < limit && cut.last->*Next != nullptr) {
            cut.last = cut.last->*Next;
            ++cut.count;
        }
        first_ = cut.last->*Next;
        if (first_ == nullptr) last_ = nullptr;
        add_to_size_locked(-cut.count);
        return cut;
    }

    // Only the lock's holder writes size_, so this need not be an RMW.
    void add_to_size_locked(std::size_t difference) noexcept {
        size_.store(size_.load(std::memory_order_relaxed) + difference, std::memory_order_seq_cst);  // P1
    }

    alignas(cache_line) Lock lock_;
    T* first_ = nullptr;
    T* last_ = nullptr;
    Atomic<std::size_t> size_{0};
};

}  // namespace fiber::engine
