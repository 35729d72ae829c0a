// One execution of a scenario: its virtual threads, their store buffers, and the steps that are possible next.
// search.cpp decides which step comes next, execution.cpp takes it; operations.cpp is what the threads call in it.
// One execution exists at a time; the operations of model::atomic find it through `running`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/model/body_runner.hpp"
#include "tests/model/explorer.hpp"

namespace model {

// A step of thread t: bit 8t lets it do its pending operation and go on to the next one; bit 8t + 1 + s moves the store
// in slot s of its buffer to memory.
using step = unsigned;
using step_set = std::uint64_t;

inline constexpr unsigned steps_per_thread = 8;
inline constexpr unsigned buffer_slots = steps_per_thread - 1;

constexpr unsigned thread_of(step which) noexcept { return which / steps_per_thread; }
constexpr bool is_flush(step which) noexcept { return which % steps_per_thread != 0; }
constexpr step_set bit(step which) noexcept { return step_set{1} << which; }

constexpr std::uint64_t mix(std::uint64_t hash, std::uint64_t more) noexcept {
    hash = (hash ^ more) * 0x9e3779b97f4a7c15u;
    hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93u;
    return hash ^ (hash >> 29);
}

inline std::uint64_t hash_of(const detail::vector_clock& clock) noexcept {
    std::uint64_t words[sizeof clock / sizeof(std::uint64_t)];
    std::memcpy(words, clock.data(), sizeof words);
    return mix(words[0], words[1]);
}

// Ends what runs outside virtual threads when a check fails there.
struct failed_outside_threads {};

using runner_pool = std::array<body_runner, detail::most_threads>;

// What the explorer answers while a step runs.
class chooser {
 public:
    virtual unsigned choose(unsigned alternatives) = 0;

 protected:
    ~chooser() = default;
};

class execution {
 public:
    execution(const options& how, runner_pool& runners, chooser& choices, bool tracing);
    execution(const execution&) = delete;
    execution& operator=(const execution&) = delete;
    ~execution();

    void set_up(const std::function<void(scenario&)>& setup);
    void finish();  // the scenario's final check
    void drain();   // lets the threads end, in any order, so that they give back what they own

    step_set enabled() const;
    void take(step which);
    bool all_ended() const noexcept;
    // Those of `sleeping` that commute with `taken`, which is about to be taken.
    step_set independent_of(step taken, step_set sleeping) const;
    std::uint64_t state() const;

    void set_failure(std::string what);
    bool failed() const noexcept { return !failure_.empty(); }
    const std::string& failure() const noexcept { return failure_; }
    const std::string& trace() const noexcept { return trace_; }
    std::string blocked_threads() const;

    // The operations of model::atomic and the like.
    void adopt(detail::cell& made) noexcept;
    void adopt(detail::access_log& made) noexcept;
    void drop(std::uint64_t contribution) noexcept { memory_hash_ -= contribution; }
    void end(detail::cell& at) noexcept;
    void initialize(detail::cell& at, std::uint64_t bits) noexcept;
    std::uint64_t load(const detail::cell& from, std::memory_order order);
    void store(detail::cell& to, std::uint64_t bits, std::memory_order order);
    std::uint64_t begin_update(detail::cell& at);
    void end_update(detail::cell& at, std::uint64_t bits, std::memory_order order);
    void end_failed_update(detail::cell& at, std::memory_order order);
    void lock(detail::cell& at);
    void wait_until(const std::function<bool()>& condition);
    bool wait_until_or_stalled(const std::function<bool()>& condition);
    void wait_for_empty_buffers();
    std::uint64_t atomically(const std::function<std::uint64_t()>& action);
    unsigned choose(unsigned alternatives);
    void forget_all_but(std::uint64_t local) noexcept;
    void note_read(detail::access_log& log);
    void note_write(detail::access_log& log);
    unsigned this_thread() const noexcept { return current_ != nullptr ? current_->number : nobody; }
    void fail(const char* what);

 private:
    enum class operation : std::uint8_t {
        start,
        load,
        buffered_store,
        strong_store,
        update,
        lock,
        wait,
        wait_or_stall,
        wait_for_empty_buffers,
        atomically
    };

    struct buffered {
        detail::cell* to;
        std::uint64_t bits;
        std::uint64_t content;
        bool release;
        detail::vector_clock released;
        std::uint32_t sequence;

        unsigned slot() const noexcept { return sequence % buffer_slots; }
    };

    struct virtual_thread {
        std::string name;
        body_runner* runner = nullptr;
        unsigned number = 0;
        operation pending = operation::start;
        const detail::cell* where = nullptr;
        const std::function<bool()>* condition = nullptr;
        std::uint64_t history = 0;
        std::uint64_t made = 0;  // cells
        detail::vector_clock clock{};
        std::vector<buffered> buffer;
        std::uint32_t next_sequence = 0;
    };

    // What a step may share with steps of other threads.
    struct effect {
        const detail::cell* where = nullptr;  // nullptr: nothing
        bool writes = false;
        bool everything = false;
        bool fills_buffer = false;  // which keeps those back that wait for empty ones
        bool needs_empty_buffers = false;

        bool commutes_with(const effect& other) const noexcept {
            if ((fills_buffer && other.needs_empty_buffers) || (needs_empty_buffers && other.fills_buffer))
                return false;
            if (everything || other.everything) return touches_nothing() || other.touches_nothing();
            return where != other.where || (!writes && !other.writes);
        }
        bool touches_nothing() const noexcept { return where == nullptr && !everything; }
    };

    bool can_run(const virtual_thread& thread) const;
    step_set stalled() const;
    step_set flushable(const virtual_thread& thread) const noexcept;
    void flush(virtual_thread& thread, unsigned slot);
    void flush_all(virtual_thread& thread);
    effect effect_of(step which) const noexcept;

    // Calls it as the explorer would: its loads are no steps, and see memory.
    template <class F>
    auto outside(const F& look) {
        virtual_thread* const caller = std::exchange(current_, nullptr);
        const auto result = look();
        current_ = caller;
        return result;
    }

    void pause_before(operation next, const detail::cell* where);
    void observe(std::uint64_t what) noexcept { current_->history = mix(current_->history, what); }
    void write(detail::cell& at, std::uint64_t bits, std::uint64_t content,
               const detail::vector_clock& released) noexcept;
    void refresh(detail::cell& at) noexcept;
    void refresh(detail::access_log& log) noexcept;
    std::uint64_t content_of(const detail::cell& at, std::uint64_t bits) const noexcept;
    std::uint64_t next_id() noexcept;
    detail::vector_clock release() noexcept;
    void synchronize_with(const detail::vector_clock& released) noexcept;
    void stop();
    void race(const char* access, unsigned other);

    void note(const virtual_thread& thread, const char* what, const detail::cell* where, const std::string& value);
    std::string show(const detail::cell& at, std::uint64_t bits) const;

    const options how_;
    runner_pool& runners_;
    chooser& choices_;
    const bool tracing_;
    bool draining_ = false;
    std::size_t drained_ = 0;
    std::uint64_t memory_hash_ = 0;
    std::uint64_t made_ = 0;
    std::uint32_t cells_ = 0;
    virtual_thread* current_ = nullptr;
    std::vector<virtual_thread> threads_;
    std::string failure_;
    std::string trace_;
    scenario scenario_;  // last: its objects leave while the rest still stands
};

// The one that exists now; nullptr between executions.
extern execution* running;

}  // namespace model
