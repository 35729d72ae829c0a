// Waiting until another has changed something: asyncio.Condition
// (https://docs.python.org/3/library/asyncio-sync.html#condition) in the shape of std::condition_variable_any. It works
// with any lock that has lock() and unlock(), which may park; std::unique_lock<fiber::mutex> is the usual one.
//
// Who waits is notified in the order of arrival. However a wait ends, the lock has been acquired again.
// Cancellation is asyncio's: one that comes before the fiber has run again wins over the notification, and a
// notification by notify_one() then goes on to the next who waits.
// Thread safety: the members from any number of fibers and plain threads at once. It may be destroyed as soon as
// everyone who waits has been notified: the destructor waits for those who still have to look at it on their way out,
// never for a lock of theirs.
#pragma once

#include <condition_variable>
#include <stop_token>

#include "fiber/duration.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber {

// Waits with any lock that has lock() and unlock().
class condition_variable {
 public:
    constexpr condition_variable() noexcept = default;
    condition_variable(const condition_variable&) = delete;
    condition_variable& operator=(const condition_variable&) = delete;
    // Requires: all that wait have been notified.
    ~condition_variable();

    // Ends the wait of the first who waits, if there is one. Never parks.
    void notify_one() noexcept {
        if (word_.load() != 0) notify_one_slowly();
    }
    // Ends all waits of now. Never parks.
    void notify_all() noexcept {
        if (word_.load() != 0) notify_all_slowly();
    }

    // Unlocks, waits to be notified, locks. May return for no reason. A fiber or a plain thread.
    // Requires: the caller holds the lock. Cancellation point: throws `cancelled`, with the lock held. What the lock's
    // unlock() throws goes to the caller; when its lock() throws the program ends, as with std's.
    template <class Lock>
    void wait(Lock& lock) {
        (void)wait_until_nanos(lock, engine::never);
    }
    // Waits until stop_waiting(), called with the lock held, is true.
    template <class Lock, class Predicate>
    void wait(Lock& lock, Predicate stop_waiting) {
        while (!stop_waiting()) wait(lock);
    }

    // The same for at most `limit`; zero or less still unlocks and locks. Throws std::invalid_argument for NaN.
    // Cancellation point.
    template <class Lock, class Rep, class Period>
    std::cv_status wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& limit) {
        return status(wait_until_nanos(lock, detail::deadline_after(limit)));
    }
    template <class Lock, class Clock, class Duration>
    std::cv_status wait_until(Lock& lock, const std::chrono::time_point<Clock, Duration>& when) {
        return status(wait_until_nanos(lock, detail::deadline_at(when)));
    }
    // Return what stop_waiting() says in the end.
    template <class Lock, class Rep, class Period, class Predicate>
    bool wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& limit, Predicate stop_waiting) {
        return wait_until_nanos(lock, detail::deadline_after(limit), stop_waiting);
    }
    template <class Lock, class Clock, class Duration, class Predicate>
    bool wait_until(Lock& lock, const std::chrono::time_point<Clock, Duration>& when, Predicate stop_waiting) {
        return wait_until_nanos(lock, detail::deadline_at(when), stop_waiting);
    }

    // The same, and a stop request ends the wait, too. Cancellation points.
    template <class Lock, class Predicate>
    bool wait(Lock& lock, std::stop_token stop, Predicate stop_waiting) {
        return wait_until_nanos(lock, std::move(stop), engine::never, stop_waiting);
    }
    template <class Lock, class Rep, class Period, class Predicate>
    bool wait_for(Lock& lock, std::stop_token stop, const std::chrono::duration<Rep, Period>& limit,
                  Predicate stop_waiting) {
        return wait_until_nanos(lock, std::move(stop), detail::deadline_after(limit), stop_waiting);
    }
    template <class Lock, class Clock, class Duration, class Predicate>
    bool wait_until(Lock& lock, std::stop_token stop, const std::chrono::time_point<Clock, Duration>& when,
                    Predicate stop_waiting) {
        return wait_until_nanos(lock, std::move(stop), detail::deadline_at(when), stop_waiting);
    }

 private:
    // One wait, in the frame of whoever waits. It enters the queue while the caller holds its lock, and begins to park
    // only after that was unlocked, because unlocking may park, too; a notification in between is not lost.
    class visit : public engine::waiter {
     public:
        explicit visit(condition_variable& at);  // Cancellation point.
        ~visit() {
            if (inside_) leave(false);
        }
        // false: the deadline came first. Once. Cancellation point.
        bool wait_until(engine::nanos deadline);

     private:
        friend class condition_variable;
        enum class notice : unsigned char { none, one, all };

        bool is_over(engine::nanos deadline) noexcept;
        void leave(bool took_notice) noexcept;

        condition_variable& at_;
        notice told_ = notice::none;  // by a notifier: under the lock, or between claim() and complete()
        bool parking_ = false;        // under the lock: its wait has begun, a notifier claims it
        bool inside_ = true;          // it has to leave()
    };

    // The caller's lock, unlocked for a while.
    template <class Lock>
    class unlocked {
     public:
        explicit unlocked(Lock& lock) : lock_(lock) { lock.unlock(); }
        unlocked(const unlocked&) = delete;
        unlocked& operator=(const unlocked&) = delete;
        ~unlocked() { lock_.lock(); }

     private:
        Lock& lock_;
    };

    // The word: 0, or `occupied` while somebody stands in the queue.
    static constexpr std::uint64_t occupied = 2;

    static std::cv_status status(bool notified) noexcept {
        return notified ? std::cv_status::no_timeout : std::cv_status::timeout;
    }

    template <class Lock>
    bool wait_until_nanos(Lock& lock, engine::nanos deadline) {
        visit here(*this);
        const unlocked<Lock> open(lock);
        return here.wait_until(deadline);
    }

    template <class Lock, class Predicate>
    bool wait_until_nanos(Lock& lock, engine::nanos deadline, Predicate& stop_waiting) {
        while (!stop_waiting()) {
            if (!wait_until_nanos(lock, deadline)) return stop_waiting();
        }
        return true;
    }

    template <class Lock, class Predicate>
    bool wait_until_nanos(Lock& lock, std::stop_token stop, engine::nanos deadline, Predicate& stop_waiting) {
        const std::stop_callback wake(stop, [this] { notify_all(); });
        while (!stop.stop_requested()) {
            if (stop_waiting()) return true;
            visit here(*this);
            if (stop.stop_requested()) break;  // a request that came after this look finds the visit in the queue
            const unlocked<Lock> open(lock);
            if (!here.wait_until(deadline)) break;
        }
        return stop_waiting();
    }

    void notify_one_slowly() noexcept;
    void notify_all_slowly() noexcept;
    engine::waiter* tell_one_locked() noexcept;
    void unlock() noexcept { word_.unlock(queue_.empty() ? 0 : occupied); }

    engine::guarded_word word_;
    engine::intrusive_list<visit> queue_;  // guarded by word_, as all below
    std::size_t returning_ = 0;            // taken out of the queue, and have yet to leave()
    engine::waiter* destroyer_ = nullptr;  // waits until none is returning
};

}  // namespace fiber
