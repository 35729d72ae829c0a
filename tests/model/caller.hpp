// Who calls the library's own waiting functions on a virtual thread of the model: a fiber with a worker of its own, or
// a plain thread. Made for a scenario; lives until the end of the execution.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <new>
#include <string>
#include <utility>

#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/worker.hpp"
#include "tests/model/explorer.hpp"

namespace model {

enum class kind { fiber, thread };

class caller : public fiber::engine::task_slot {
 public:
    explicit caller(kind what);
    ~caller();
    caller(const caller&) = delete;
    caller& operator=(const caller&) = delete;

    // Its waits may have a deadline.
    caller& with_timer(fiber::engine::worker::clock whose = fiber::engine::worker::clock::own) {
        runs_on.set_clock(whose);
        return *this;
    }

    // As cancel() of a task's handle. Any virtual thread.
    bool cancel() { return fiber::engine::cancel(*this, nullptr); }

    // The calling virtual thread; nullptr outside of them.
    static caller* current() noexcept;

    const kind what;
    fiber::engine::worker runs_on{*this};
    fiber::engine::park_state thread_park;  // of a plain thread
    sleepers futex;
    bool was_late = false;  // the time limit of its wait has come; one such wait in an execution
    bool ended_cancelled = false;

 private:
    friend caller& add_caller(scenario& s, kind what, std::string name, std::function<void()> body);
    void run(const std::function<void()>& body);
};

// A virtual thread that runs the body as a fiber or a plain thread. A `cancelled` that leaves the body is noted.
caller& add_caller(scenario& s, kind what, std::string name, std::function<void()> body);
inline caller& add_fiber(scenario& s, std::string name, std::function<void()> body) {
    return add_caller(s, kind::fiber, std::move(name), std::move(body));
}

// How a wait may end before what it waits for has come. withdrawn: cancelled, and the cancellation is taken back, in
// time or not.
enum class interruption { none, late, cancelled, withdrawn };

// Lets it come to the caller's waits, at any moment. Returns the caller. A plain thread can be late only, and for that
// its waits must have a deadline: a_while.
caller& interrupt(scenario& s, caller& whom, interruption how);

inline constexpr std::chrono::nanoseconds a_while{1};

// For three virtual threads, and for four. Store buffers would multiply the executions; what a store must order is
// found without them wherever somebody relies on it, by the clocks of what is guarded.
inline constexpr options several{.stores = memory::interleaving};
inline constexpr options many{.stores = memory::interleaving, .most_preemptions = 2};

inline constexpr fiber::engine::nanos some_time = 1;  // a deadline that may come at any moment

// Ends when it is told to, and not with its execution, which may be abandoned in the middle. Owns no memory then.
template <class T>
class ends_when_told {
 public:
    template <class... Arguments>
    explicit ends_when_told(Arguments&&... arguments) {
        ::new (static_cast<void*>(room_)) T(std::forward<Arguments>(arguments)...);
    }
    ends_when_told(const ends_when_told&) = delete;
    ends_when_told& operator=(const ends_when_told&) = delete;

    T* operator->() noexcept { return std::launder(reinterpret_cast<T*>(room_)); }
    void end() { (*this)->~T(); }

 private:
    alignas(T) std::byte room_[sizeof(T)];
};

// Moves from hand to hand as an item does. Accesses that nothing orders are found.
class item {
 public:
    explicit item(int number) : number_(number) {}
    item(item&& other) : number_(other.number()) { other.number_ = 0; }
    item& operator=(item&& other) {
        number_ = other.number();
        other.number_ = 0;
        return *this;
    }
    int number() const { return number_; }

 private:
    fiber::engine::guarded<int> number_;
};

}  // namespace model
