// A meeting point for a fixed number of fibers and threads, again and again: asyncio.Barrier
// (https://docs.python.org/3/library/asyncio-sync.html#barrier) in the shape of std::barrier.
//
// A phase is complete when as many have arrived as are expected. Then the last to arrive calls the completion function,
// and after that all go on into the next phase.
// asyncio's abort() and reset() are left out: a cancelled waiter takes its arrival back, so that the others are not
// stranded by a broken barrier but simply wait for one more.
// Thread safety: all members from any number of fibers and plain threads at once. Destroying a barrier that somebody
// waits for is a defect of the caller; one whose wait has returned may destroy it, also while the one who completed the
// phase is still returning.
#pragma once

#include <cstddef>
#include <limits>
#include <utility>

#include "fiber/duration.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber {

namespace detail {

struct no_completion {
    void operator()() const noexcept {}
};

// The counting and waiting of a barrier, without its completion function.
class barrier_core {
 public:
    explicit barrier_core(std::ptrdiff_t expected);
    barrier_core(const barrier_core&) = delete;
    barrier_core& operator=(const barrier_core&) = delete;

    struct arrival {
        std::uint64_t phase;
        bool last;  // the caller completes the phase, and then owes begin_next_phase()
    };
    enum class staying : bool { no, yes };  // no: expected no more from the next phase on

    [[nodiscard]] arrival arrive(std::ptrdiff_t count, staying mode);
    [[nodiscard]] arrival arrive_unless_cancelled();               // Cancellation point.
    bool wait_until(std::uint64_t phase, engine::nanos deadline);  // Cancellation point.
    void wait_or_take_back(std::uint64_t phase);                   // Cancellation point.
    void begin_next_phase() noexcept;

 private:
    static constexpr std::uint64_t one_phase = 2;

    void take_back(std::uint64_t phase) noexcept;

    engine::guarded_word word_{0};  // the phase
    std::ptrdiff_t expected_;       // guarded by word_, as all below
    std::ptrdiff_t missing_;        // in this phase; 0: it is complete, and its completion function runs
    engine::wait_queue waiters_;
};

}  // namespace detail

template <class CompletionFunction = detail::no_completion>
class barrier {
 public:
    // Stands for an arrival in one phase. Move-only.
    class arrival_token {
     public:
        arrival_token(arrival_token&&) noexcept = default;
        arrival_token& operator=(arrival_token&&) noexcept = default;

     private:
        friend class barrier;
        explicit arrival_token(std::uint64_t phase) noexcept : phase_(phase) {}
        std::uint64_t phase_;
    };

    // Throws invalid_option when less than one is expected.
    explicit barrier(std::ptrdiff_t expected, CompletionFunction completion = CompletionFunction())
        : core_(expected), completion_(std::move(completion)) {}

    // The most that can be expected.
    static constexpr std::ptrdiff_t max() noexcept { return std::numeric_limits<std::ptrdiff_t>::max(); }

    // Arrives `count` times without waiting for the others. If that completes the phase, it calls the completion
    // function; what this throws is thrown here, after the others went on. Who comes while the completion function runs
    // waits for its end and arrives in the next phase; that is a cancellation point.
    // Throws, and changes nothing: invalid_option when count is less than one, usage_error when more would have
    // arrived than are expected.
    [[nodiscard]] arrival_token arrive(std::ptrdiff_t count = 1) {
        return arrival_token(arrived(core_.arrive(count, staying::yes)));
    }

    // Waits until the token's phase is complete. A fiber or a plain thread. Cancellation point: throws `cancelled`;
    // the arrival stands.
    void wait(arrival_token&& token) { (void)core_.wait_until(token.phase_, engine::never); }

    // The same for at most `limit`; zero or less only looks. false: the time is up, and the token is still good.
    // Throws std::invalid_argument for NaN. Cancellation point.
    template <class Rep, class Period>
    [[nodiscard]] bool try_wait_for(arrival_token& token, const std::chrono::duration<Rep, Period>& limit) {
        return core_.wait_until(token.phase_, detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_wait_until(arrival_token& token, const std::chrono::time_point<Clock, Duration>& when) {
        return core_.wait_until(token.phase_, detail::deadline_at(when));
    }

    // Arrives and waits until the phase is complete. Throws as arrive(). Cancellation point: throws `cancelled`, and
    // takes the arrival back if the phase is not complete, so that the barrier waits for another in its place.
    void arrive_and_wait() {
        const auto [phase, last] = core_.arrive_unless_cancelled();
        if (last) return (void)arrived({phase, last});
        core_.wait_or_take_back(phase);
    }

    // Arrives, and is not expected from the next phase on. Throws as arrive().
    void arrive_and_drop() { (void)arrived(core_.arrive(1, staying::no)); }

 private:
    using staying = detail::barrier_core::staying;

    // Completes the phase if the arrival was its last. Returns the phase.
    std::uint64_t arrived(detail::barrier_core::arrival one) {
        struct turn {
            detail::barrier_core& core;
            ~turn() { core.begin_next_phase(); }
        };
        if (one.last) {
            const turn over{core_};
            completion_();
        }
        return one.phase;
    }

    detail::barrier_core core_;
    CompletionFunction completion_;
};

}  // namespace fiber
