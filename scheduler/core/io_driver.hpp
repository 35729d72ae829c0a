// A scheduler's reactor, made when the first descriptor is waited for, and who asks it for events: busy workers on
// their beat, and of the idle ones the keeper, which waits in it instead of on its futex. A runtime that never does
// input or output has no reactor, and pays one load a beat.
//
// Owner: the scheduler. Thread safety: any thread, except where marked.
//
// Orders, by pair:
//   P1  reactor made: release store  ->  active: acquire load.
//   P2  first registration: seq_cst RMW, then a look at the keeper  <>  keeper: announces itself, then active(); all
//       seq_cst. One of them sees the other: no descriptor is registered while the keeper sleeps on its futex.
#pragma once

#include <atomic>
#include <mutex>

#include "scheduler/base/clock.hpp"
#include "scheduler/io/reactor.hpp"

namespace fiber::engine {

class io_driver {
 public:
    io_driver() = default;
    ~io_driver();
    io_driver(const io_driver&) = delete;
    io_driver& operator=(const io_driver&) = delete;

    // Throws std::system_error, std::bad_alloc when it cannot be made.
    reactor& get();

    // nullptr: none has been needed yet.
    reactor* made_before() const noexcept { return reactor_.load(std::memory_order_acquire); }  // P1

    // Is anything registered?
    bool active() const noexcept {
        const reactor* made = reactor_.load(std::memory_order_acquire);  // P1
        return made != nullptr && made->registrations() != 0;            // P2
    }

    // Asks for events without waiting, unless somebody has done so a moment ago or does now. Fibers that they wake go
    // to the calling worker's queue. Requires: active().
    void poll_if_due() noexcept;

    // Nobody will ask for events any more. Who waits in another runtime for what is registered here takes it over.
    void end() noexcept;

    // --- The keeper ---

    // From here on nobody else asks for events, nor sees an interrupt in the keeper's place. Requires: active().
    void begin_collect() noexcept { made().lock(); }
    // Waits for events, until `deadline` (0: only looks). Returns whether there are any: the keeper then owes
    // deliver_collected(); otherwise others may ask again. Requires: begin_collect().
    [[nodiscard]] bool collect(nanos deadline) noexcept;
    void give_up_collect() noexcept { made().unlock(); }
    // Requires: collect() said true.
    void deliver_collected() noexcept { deliver(made()); }
    // Ends the keeper's wait.
    void interrupt() noexcept { made().interrupt(); }

 private:
    reactor& made() const noexcept { return *reactor_.load(std::memory_order_acquire); }  // P1
    static void deliver(reactor& from) noexcept;

    std::atomic<reactor*> reactor_{nullptr};
    std::atomic<nanos> polled_at_{0};  // a hint
    std::mutex making_;
};

}  // namespace fiber::engine
