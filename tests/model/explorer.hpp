// A small model checker for lock-free code, in the spirit of loom and relacy: virtual threads run one at a time, each
// operation on a model::atomic is a scheduling point, and explore() goes through all orders of these points, depth
// first, by running the scenario again and again. A failure comes with the schedule that led to it, for replay().
//
// What it explores: all interleavings, and store buffers. Under memory::tso relaxed and release stores wait in their
// thread's buffer and reach memory later, in order; under memory::pso relaxed stores to different places also overtake
// one another. A seq_cst store, a lock and every RMW wait until the buffer is empty. So a store that needs to be
// seq_cst (Dekker) is found when it is not. Independently of that, model::plain reports accesses that no
// acquire/release pair orders, by vector clocks, so a missing acquire or release in front of plain data is found as
// well. What it does not: loads that are late or stale (beyond the reader's own buffer), an RMW that lets stores
// overtake it, weak CAS that fails for no reason, stand-alone fences. A load of an atomic that needs acquire only to
// order other *atomics* passes unnoticed. What it reports: failed check()s, deadlock (a lost wake-up), livelock, data
// races, an exploration that had to stop.
//
// Pruning: sleep sets (Godefroid 1996), and states seen before. A state is memory, buffers, clocks, and each thread's
// history of what it read. Hence the rule for scenarios: bodies are deterministic, and what they share outside
// model::atomic and model::plain is only counted up (the order of such changes is not part of the state). A pointer has
// an identity of its own only if it points into an object of scenario::make(). Bodies may be abandoned anywhere,
// without their destructors: they own no memory. One OS thread at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "scheduler/base/sanitizers.hpp"

namespace model {

enum class memory { interleaving, tso, pso };
enum class verdict { passed, failed, gave_up };

inline constexpr unsigned unlimited = ~0u;

// Sanitizers make an execution up to a hundred times as slow. There the tests look for errors in memory on the way, and
// the proof is left to the plain build.
inline constexpr bool sanitized = FIBER_ASAN || FIBER_TSAN;
inline constexpr std::size_t enough_executions = FIBER_TSAN ? 1'000 : FIBER_ASAN ? 10'000 : 10'000'000;

struct options {
    memory stores = memory::tso;
    bool data_races = true;                 // false: model::plain must not be used, and there are fewer states
    bool prune = true;                      // false: to check the pruning
    unsigned most_preemptions = unlimited;  // a bound makes the exploration incomplete, and faster only if it is small
    std::size_t most_executions = enough_executions;  // beyond: gave_up
    std::size_t most_steps = 2'000;                   // of one execution; beyond: livelock
};

struct report {
    model::verdict verdict = model::verdict::gave_up;
    std::string failure;   // what went wrong
    std::string schedule;  // for replay()
    std::string trace;     // that execution, step by step
    std::size_t executions = 0;
    std::size_t states = 0;

    bool passed() const noexcept { return verdict == model::verdict::passed; }
    bool failed() const noexcept { return verdict == model::verdict::failed; }
    std::string text() const;
};

namespace detail {

inline constexpr std::size_t most_threads = 8;
using vector_clock = std::array<std::uint16_t, most_threads>;

// What stands for a written value in a state: the value; for a pointer its place in an object of the scenario, or else
// the moment it was written; for a lock always the moment, because what it guards is outside the state
// (unless scenario::describe_guarded() tells).
enum class identity : std::uint8_t { value, place, moment };

// The untyped part of an atomic, and its place in the state.
struct cell {
    constexpr explicit cell(identity rule) noexcept : rule(rule) {
        if (!std::is_constant_evaluated()) enter();
    }
    cell(const cell&) = delete;
    cell& operator=(const cell&) = delete;
    ~cell();

    void enter() noexcept;
    void initialize(std::uint64_t value) noexcept;

    std::uint64_t bits = 0;
    std::uint64_t content = 0;       // stands for the value in the state's hash
    std::uint64_t id = 0;            // the same in each execution
    std::uint64_t contribution = 0;  // to the hash of memory
    std::uint32_t number = 0;        // for the trace
    const identity rule;
    vector_clock released{};  // what an acquire load of the present value synchronizes with
};

std::uint64_t load(const cell& from, std::memory_order order);
void store(cell& to, std::uint64_t bits, std::memory_order order);
// Between the two no other thread runs. `failed`: a CAS that changed nothing.
std::uint64_t begin_update(cell& at);
void end_update(cell& at, std::uint64_t bits, std::memory_order order);
void end_failed_update(cell& at, std::memory_order order);
void lock(cell& at);
void wait_until(const std::function<bool()>& condition);
void wait_for_empty_buffers();
bool wait_until_or_stalled(const std::function<bool()>& condition);
std::uint64_t atomically(const std::function<std::uint64_t()>& action);

struct access_log {
    constexpr access_log() noexcept {
        if (!std::is_constant_evaluated()) enter();
    }
    access_log(const access_log&) = delete;
    access_log& operator=(const access_log&) = delete;
    ~access_log();

    void enter() noexcept;

    vector_clock reads{};  // each thread's own time at its last read
    vector_clock writes{};
    std::uint64_t content = 0;  // stands for the value in the state's hash
    std::uint64_t id = 0;
    std::uint64_t contribution = 0;
};

void note_read(access_log& log);
void note_write(access_log& log);

constexpr std::memory_order failure_order(std::memory_order success) noexcept {
    if (success == std::memory_order_acq_rel) return std::memory_order_acquire;
    if (success == std::memory_order_release) return std::memory_order_relaxed;
    return success;
}

}  // namespace detail

// In place of std::atomic<T>.
template <class T>
class atomic {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));

 public:
    using value_type = T;

    constexpr atomic() noexcept : atomic(T{}) {}
    constexpr atomic(T value) noexcept
        : atomic(value, std::is_pointer_v<T> ? detail::identity::place : detail::identity::value) {}
    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;

    T load(std::memory_order order = std::memory_order_seq_cst) const { return from_bits(detail::load(cell_, order)); }
    void store(T value, std::memory_order order = std::memory_order_seq_cst) {
        detail::store(cell_, to_bits(value), order);
    }
    T exchange(T value, std::memory_order order = std::memory_order_seq_cst) {
        return update(order, [value](T) { return value; });
    }

    bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure) {
        const T seen = from_bits(detail::begin_update(cell_));
        if (to_bits(seen) == to_bits(expected)) {
            detail::end_update(cell_, to_bits(desired), success);
            return true;
        }
        detail::end_failed_update(cell_, failure);
        expected = seen;
        return false;
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order order = std::memory_order_seq_cst) {
        return compare_exchange_strong(expected, desired, order, detail::failure_order(order));
    }
    template <class... Orders>
    bool compare_exchange_weak(T& expected, T desired, Orders... orders) {
        return compare_exchange_strong(expected, desired, orders...);
    }

    T fetch_add(T value, std::memory_order order = std::memory_order_seq_cst) {
        return update(order, [value](T old) { return static_cast<T>(old + value); });
    }
    T fetch_sub(T value, std::memory_order order = std::memory_order_seq_cst) {
        return update(order, [value](T old) { return static_cast<T>(old - value); });
    }
    T fetch_and(T value, std::memory_order order = std::memory_order_seq_cst) {
        return update(order, [value](T old) { return static_cast<T>(old & value); });
    }
    T fetch_or(T value, std::memory_order order = std::memory_order_seq_cst) {
        return update(order, [value](T old) { return static_cast<T>(old | value); });
    }
    T fetch_xor(T value, std::memory_order order = std::memory_order_seq_cst) {
        return update(order, [value](T old) { return static_cast<T>(old ^ value); });
    }

    // What memory holds now; no step. For conditions of wait_until() and atomically(), and for scenario::finally().
    T peek() const noexcept { return from_bits(cell_.bits); }

 protected:
    constexpr atomic(T value, detail::identity rule) noexcept : cell_(rule) {
        if (!std::is_constant_evaluated()) cell_.initialize(to_bits(value));
    }

 private:
    template <class F>
    T update(std::memory_order order, F next) {
        const T old = from_bits(detail::begin_update(cell_));
        detail::end_update(cell_, to_bits(next(old)), order);
        return old;
    }

    static std::uint64_t to_bits(T value) noexcept {
        std::uint64_t bits = 0;
        std::memcpy(&bits, &value, sizeof value);
        return bits;
    }
    static T from_bits(std::uint64_t bits) noexcept {
        T value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }

    detail::cell cell_;
};

// A plain variable whose every access is checked for a data race. No scheduling point.
template <class T>
class plain {
 public:
    plain() = default;
    explicit plain(T value) : value_(std::move(value)) {}

    T get() const {
        detail::note_read(log_);
        return value_;
    }
    void set(T value) {
        detail::note_write(log_);
        value_ = std::move(value);
    }

 private:
    mutable detail::access_log log_;
    T value_{};
};

// In place of fiber::engine::spin_lock: waits instead of spinning. Its unlock is a release store, which may wait in the
// buffer.
class spin_lock {
 public:
    spin_lock() = default;

    void lock() { detail::lock(held_); }
    void unlock() { detail::store(held_, 0, std::memory_order_release); }

 private:
    detail::cell held_{detail::identity::moment};
};

// Lets the calling thread go on once the condition holds. In a condition a load is a peek(); it has no side effects.
// Whoever would spin on a load waits with this, or the exploration never ends.
inline void wait_until(const std::function<bool()>& condition) { detail::wait_until(condition); }

// The same, and false as soon as nobody else can go on: a time limit that has to come at last.
inline bool wait_until_or_stalled(const std::function<bool()>& condition) {
    return detail::wait_until_or_stalled(condition);
}

// In place of fiber::engine::asymmetric_barrier: the heavy one empties everybody's buffer.
struct asymmetric_barrier {
    static void light() noexcept {}
    static void heavy() { detail::wait_for_empty_buffers(); }
};

// What a futex is to the threads that sleep on it, without spurious returns. A wake reaches all that sleep.
class sleepers {
 public:
    // One step, as in the kernel: looks whether `still` holds, and if so sleeps until the next wake().
    void sleep_while(const std::function<bool()>& still) {
        const std::uint64_t before = look(still);
        if (before != awake) detail::wait_until([&] { return wakes_.peek() != before; });
    }
    // The same, and false as soon as nobody else can go on.
    bool sleep_while_or_stalled(const std::function<bool()>& still) {
        const std::uint64_t before = look(still);
        return before == awake || detail::wait_until_or_stalled([&] { return wakes_.peek() != before; });
    }
    void wake() { wakes_.fetch_add(1, std::memory_order_relaxed); }

 private:
    static constexpr std::uint64_t awake = ~std::uint64_t{0};

    std::uint64_t look(const std::function<bool()>& still) {
        return detail::atomically([&] { return still() ? wakes_.peek() : awake; });
    }

    atomic<std::uint64_t> wakes_{0};
};

// One of 0 ... alternatives - 1: all are explored. On a virtual thread.
unsigned choose(unsigned alternatives);

// The calling thread's own state is this number and nothing else: where it stands in its body, and what it will use
// again of all that it has read. At the head of a loop, this lets the explorer see that the loop came back to where it
// was; without it, each round is new and the exploration may not end. An endless loop is then no longer reported as
// livelock. Needs data_races = false to be of use.
void forget_all_but(std::uint64_t local);

// The number of the calling virtual thread, in the order of scenario::thread(); nobody outside of them.
inline constexpr unsigned nobody = ~0u;
unsigned this_thread() noexcept;

// Ends the execution and the exploration as failed. On a virtual thread, or in scenario::finally().
void fail(const char* what);
inline void check(bool condition, const char* what) {
    if (!condition) fail(what);
}

// An invariant of the library's, as FIBER_ASSERT has it. On a virtual thread; elsewhere it may be broken.
void check_invariant(bool holds, const char* condition);

// One execution: its shared objects, its threads, and what must hold when all have ended.
class scenario {
 public:
    // The object lives until the end of the execution.
    template <class T, class... Arguments>
    T& make(Arguments&&... arguments) {
        auto made = std::make_shared<T>(std::forward<Arguments>(arguments)...);
        objects_.push_back({made, sizeof(T)});
        return *made;
    }
    void thread(std::string name, std::function<void()> body) {
        threads_.push_back({std::move(name), std::move(body)});
    }
    void finally(std::function<void()> check) { finally_ = std::move(check); }
    // A number that stands for what the locks guard. Without it, the order in which the locks were taken does.
    void describe_guarded(std::function<std::uint64_t()> describe) { describe_guarded_ = std::move(describe); }

 private:
    friend class execution;

    struct object {
        std::shared_ptr<void> where;
        std::size_t size;
    };
    struct thread_plan {
        std::string name;
        std::function<void()> body;
    };

    std::vector<object> objects_;
    std::vector<thread_plan> threads_;
    std::function<void()> finally_;
    std::function<std::uint64_t()> describe_guarded_;
};

// Explores all executions of the scenario that `setup` builds, until one fails.
report explore(const options& how, const std::function<void(scenario&)>& setup);
inline report explore(const std::function<void(scenario&)>& setup) { return explore({}, setup); }

// Runs the one execution of a report's schedule, with the trace.
report replay(const options& how, const std::string& schedule, const std::function<void(scenario&)>& setup);

}  // namespace model
