// What every test of the public API stands on: the worker counts, one runtime per test, and the proof that nothing is
// left. Owned by the thread that runs the test case; the helpers at the end may be used on any fiber or thread.
// Invariant: when a runtime_fixture goes, the process has as many descriptors, threads and tracked objects as when it
// came.
//
// Rules for test bodies:
//   * at most one for_each_worker_count or on_each_worker_count in a test case (they open doctest subcases);
//   * no INFO or CAPTURE on a fiber: doctest keeps those in a thread-local, and fibers migrate. The count of workers is
//     named in every failure all the same, as the subcase;
//   * CHECK and REQUIRE are safe on fibers and threads. A failed REQUIRE leaves the fiber as an exception.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <doctest/doctest.h>
#include <fstream>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "fiber/fiber.hpp"
#include "scheduler/base/check.hpp"
#include "tests/support/seed.hpp"
#include "tests/support/watchdog.hpp"

namespace fiber::test {

using namespace std::chrono_literals;

inline constexpr bool sanitized = FIBER_ASAN || FIBER_TSAN;

// A count of repetitions, less where a sanitizer makes each one slow.
constexpr int scaled(int plain) { return sanitized ? (plain + 9) / 10 : plain; }

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Counts its living instances and copies, and notices a second destruction.
class tracked {
 public:
    explicit tracked(int value = 0) : value_(value) { ++live_; }
    tracked(const tracked& other) : value_(other.value_) {
        ++live_;
        ++copies_;
    }
    tracked(tracked&& other) noexcept : value_(std::exchange(other.value_, -1)) { ++live_; }
    tracked& operator=(const tracked& other) {
        value_ = other.value_;
        ++copies_;
        return *this;
    }
    tracked& operator=(tracked&& other) noexcept {
        value_ = std::exchange(other.value_, -1);
        return *this;
    }
    ~tracked() {
        if (std::exchange(alive_, 0) != alive_mark) std::abort();
        --live_;
    }

    int value() const { return value_; }
    static long live() { return live_; }
    static long copies() { return copies_; }

 private:
    static constexpr unsigned alive_mark = 0xA11FE;
    static inline std::atomic<long> live_{0};
    static inline std::atomic<long> copies_{0};
    unsigned alive_ = alive_mark;
    int value_;
};

inline long entries_in(const char* directory) {
    DIR* opened = opendir(directory);
    if (!opened) return -1;
    long count = 0;
    while (readdir(opened)) ++count;
    closedir(opened);
    return count;
}

// Counts ".", ".." and its own, too; only differences mean anything.
inline long open_descriptors() { return entries_in("/proc/self/fd"); }

// The threads of this process, by their numbers: a count would not do, for one that has been joined may stand in /proc
// for a while yet.
inline std::set<std::string> running_threads() {
    std::set<std::string> numbers;
    if (DIR* tasks = opendir("/proc/self/task")) {
        while (const dirent* each = readdir(tasks)) numbers.insert(each->d_name);
        closedir(tasks);
    }
    return numbers;
}

// How many threads run that did not run then.
inline long threads_since(const std::set<std::string>& then) {
    const auto now = running_threads();
    return std::count_if(now.begin(), now.end(), [&](const std::string& each) { return !then.contains(each); });
}

// How long a condition is waited for before the test fails. Nothing is meant to come near it, on however slow a
// machine; it is well below the watchdog's limit.
inline constexpr std::chrono::seconds patience = sanitized ? 120s : 60s;

// Any thread. Spins until the condition holds; false when nobody has the patience any more.
template <class Condition>
[[nodiscard]] bool spin_until(Condition condition) {
    const auto limit = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > limit) return false;
        std::this_thread::yield();
    }
    return true;
}

// Does every thread of the process but the caller's sleep in the kernel?
inline bool other_threads_sleep() {
    const std::string self = std::to_string(::gettid());
    for (const std::string& number : running_threads()) {
        if (number == self || number[0] == '.') continue;
        std::ifstream file("/proc/self/task/" + number + "/stat");
        std::string line;
        if (!std::getline(file, line)) continue;  // it has ended
        const std::size_t name_ends = line.rfind(") ");
        if (name_ends != std::string::npos && line[name_ends + 2] != 'S') return false;
    }
    return true;
}

// Returns when whatever other threads do has come to a wait: idle workers, plain threads that block. Any thread; who
// calls it on a fiber keeps its worker from running others.
inline void settle_threads() { CHECK(spin_until(other_threads_sleep)); }

// What a process owns, and the check that it owns no more than it did.
class resource_guard {
 public:
    resource_guard() : descriptors_(open_descriptors()), threads_(running_threads()), tracked_(tracked::live()) {}
    resource_guard(const resource_guard&) = delete;
    resource_guard& operator=(const resource_guard&) = delete;
    ~resource_guard() {
        const long descriptors_left = open_descriptors() - descriptors_;
        const long objects_left = tracked::live() - tracked_;
        if (!FIBER_TSAN) CHECK(descriptors_left == 0);  // TSan opens pipes to its symbolizer when it likes
        CHECK(threads_are_gone());
        CHECK(objects_left == 0);
    }

 private:
    // A joined thread may stand in /proc for a moment.
    bool threads_are_gone() const {
        return spin_until([this] { return threads_since(threads_) == 0; });
    }

    long descriptors_;
    std::set<std::string> threads_;
    long tracked_;
};

// One runtime. Its teardown fails the test when a task, fiber, stack, timer, thread or descriptor is left.
class runtime_fixture {
 public:
    explicit runtime_fixture(runtime_options options) : runtime_(std::in_place, std::move(options)) {}
    explicit runtime_fixture(unsigned workers) : runtime_fixture(runtime_options{.workers = workers}) {}
    runtime_fixture(const runtime_fixture&) = delete;
    runtime_fixture& operator=(const runtime_fixture&) = delete;
    ~runtime_fixture() {
        const auto left = runtime_->statistics();
        CHECK(left.tasks == 0);
        CHECK(left.stacks_in_use == 0);
        CHECK(left.timers == 0);
        CHECK(left.offload_threads == 0);
        runtime_.reset();
    }

    template <class Main>
    decltype(auto) run(Main&& main) {
        return runtime_->run(std::forward<Main>(main));
    }
    fiber::runtime& runtime() { return *runtime_; }

 private:
    static void print_statistics(void* fixture) {
        const auto now = static_cast<runtime_fixture*>(fixture)->runtime_->statistics();
        std::fprintf(stderr, "tasks %zu, stacks in use %zu, timers %zu, offload threads %zu\n", now.tasks,
                     now.stacks_in_use, now.timers, now.offload_threads);
    }

    resource_guard resources_;
    std::optional<fiber::runtime> runtime_;
    fiber_test::hang_report report_{"runtime_fixture", print_statistics, this};
};

inline constexpr unsigned worker_counts[] = {1, 2, 4, 16};

// Calls body(workers) at each count, on the test's own thread.
template <class Body>
void for_each_worker_count(Body&& body) {
    for (const unsigned workers : worker_counts) {
        SUBCASE(("workers: " + std::to_string(workers)).c_str()) { body(workers); }
    }
}

// Runs body(), or body(fixture), as the main task of a fresh runtime, at each count.
template <class Body>
void on_each_worker_count(Body&& body) {
    for_each_worker_count([&](unsigned workers) {
        runtime_fixture fixture(workers);
        if constexpr (std::is_invocable_v<Body&, runtime_fixture&>) {
            fixture.run([&] { body(fixture); });
        } else {
            fixture.run([&] { body(); });
        }
    });
}

// Opens once, for any number of fibers and threads that wait. A waiter must not be cancelled while it waits here.
class gate {
 public:
    gate() : opened_(promise_.get_future().share()) {}
    void open() { promise_.set_value(); }
    void wait() const { opened_.get(); }

 private:
    promise<void> promise_;
    shared_future<void> opened_;
};

// Parks until cancelled. Cancellation point.
inline void park_until_cancelled() { sleep_for(1h); }

// The same, and says when it was. `Flag`: bool or an atomic one.
template <class Flag>
void note_cancellation(Flag& cancelled) {
    try {
        park_until_cancelled();
    } catch (const fiber::cancelled&) {
        cancelled = true;
        throw;
    }
}

// On a fiber. Yields until the condition holds; false when nobody has the patience any more.
template <class Condition>
[[nodiscard]] bool yield_until(Condition condition) {
    const auto limit = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > limit) return false;
        yield();
    }
    return true;
}

// On a fiber. The other tasks of this runtime, if all of them have parked.
inline std::optional<std::vector<std::uint64_t>> parked_tasks() {
    std::vector<std::uint64_t> ids;
    for (const auto& task : all_tasks()) {
        if (task.id == this_fiber::id()) continue;
        if (task.state != task_state::parked) return std::nullopt;
        ids.push_back(task.id);
    }
    return ids;
}

// On a fiber. Returns when every other task of this runtime has parked or finished. It looks twice, for a look is no
// snapshot: it passes by the place where a task is spawned then, and finds the one that spawned it parked.
// Who is about to wait counts as parked: he may not have armed his timer yet.
inline void settle() {
    CHECK(yield_until([] {
        const auto before = parked_tasks();
        return before && parked_tasks() == before;
    }));
}

// What happened, in order. Any thread.
template <class T>
class journal {
 public:
    void add(T entry) {
        const std::lock_guard lock(mutex_);
        entries_.push_back(std::move(entry));
    }
    std::vector<T> entries() const {
        const std::lock_guard lock(mutex_);
        return entries_;
    }

 private:
    mutable std::mutex mutex_;
    std::vector<T> entries_;
};

}  // namespace fiber::test
