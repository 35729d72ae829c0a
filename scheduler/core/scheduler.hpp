// The scheduler of one runtime: its workers, what they share, and how they start, wait and stop.
// Several may live in one process; none knows of another.
//
// It knows its workers only by what they share; crew.cpp makes them and runs them.
//
// Thread safety: everything here may be called from any thread, except where marked.
//
// Phases: idle --run--> running --main task finished--> stopping --no task left--> finished --run() returns--> stopped
// What outside threads hand in before the first run waits for it; from `stopping` on it is refused. A stopped scheduler
// may run again.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/base/clock.hpp"
#include "scheduler/context/stack_arena.hpp"
#include "scheduler/core/io_driver.hpp"
#include "scheduler/core/task.hpp"
#include "scheduler/core/task_pool.hpp"
#include "scheduler/core/worker_shared.hpp"
#include "scheduler/park/idle_set.hpp"
#include "scheduler/queue/injection_queue.hpp"

namespace fiber::engine {

enum class submit_outside_verdict : std::uint8_t { accepted, stopped };

class scheduler {
 public:
    struct options {
        unsigned workers = 1;
        stack_class default_class = default_stack_class;
        std::string name = "fiber";
        bool virtual_time = false;  // time stands still while anything runs and jumps to the next timer when all wait
    };

    explicit scheduler(options wanted);
    ~scheduler();  // Requires: not running. What was handed in and never ran ends as cancelled.
    scheduler(const scheduler&) = delete;
    scheduler& operator=(const scheduler&) = delete;

    // Any thread that is not a worker of this scheduler.
    [[nodiscard]] submit_outside_verdict submit_outside(task_slot& task) noexcept;
    // Takes a cancelled task back that waits for the first run; its entry stays behind. true: the caller ends it.
    // Any thread.
    [[nodiscard]] bool withdraw(task_slot& task) noexcept;

    std::uint64_t next_outside_id() noexcept { return outside_ids_.fetch_add(1, std::memory_order_relaxed) << 16; }
    const options& settings() const noexcept { return options_; }
    unsigned worker_count() const noexcept { return options_.workers; }
    worker_shared& worker_at(unsigned index) noexcept { return *workers_[index]; }
    bool running() const noexcept;
    nanos now() const noexcept {
        return options_.virtual_time ? virtual_now_.load(std::memory_order_acquire) : monotonic_now();
    }

    task_pool& tasks() noexcept { return *tasks_; }
    stack_arena& stacks() noexcept { return stacks_; }
    injection_queue<task_slot>& injected() noexcept { return injected_; }
    idle_set& idle() noexcept { return idle_; }
    io_driver& io() noexcept { return io_; }

    // Makes a task runnable from outside the workers.
    void inject(task_slot& task) noexcept;
    // After work was published: wakes one worker if one waits and none searches.
    void notify_one() noexcept {
        if (idle_member* place = idle_.notify()) wake(*place);
    }
    // A timer was armed that is the earliest of its worker's.
    void timer_armed(nanos deadline) noexcept;
    // The first descriptor was registered: whoever keeps the timers is to wait in the reactor.
    void io_armed() noexcept;

    bool work_visible() const noexcept;
    void expire_due_timers() noexcept;
    // While stopping: cancels what is left. Returns whether everything has ended.
    bool check_finished() noexcept;
    // Sleeps until the worker is notified (true), or a timer is due or a descriptor is ready (false). Afterwards, once
    // it has left the idle set, it owes pass_on_keeping(). Requires: announced in the idle set.
    enum class keeping : std::uint8_t { not_kept, kept, kept_with_events };  // was it the keeper?
    bool sleep(worker_shared& self, keeping& how) noexcept;
    // Of a keeper: sees to it that somebody else who waits watches timers and descriptors, for the caller may now
    // compute for long, and brings the events that it has collected to those who wait for them.
    void pass_on_keeping(keeping how) noexcept;
    void appoint_keeper() noexcept;

    // Unfinished tasks. Exact when nothing runs.
    std::size_t live_tasks() const noexcept;
    std::size_t armed_timers() const noexcept;

    // --- for crew.cpp, which starts and ends the workers ---

    // Workers for the next run. Those of the one before take their counters with them: what is alive stays counted.
    void adopt(std::vector<std::unique_ptr<worker_shared>> workers) noexcept;
    // From here on `main` runs, and when it has finished, what is left is cancelled.
    void begin_running(task_slot& main, observer& watch) noexcept;
    void begin_stopping() noexcept;
    // No worker has started: those that wait for work end.
    void give_up() noexcept;
    void end_running(bool ran) noexcept;

 private:
    enum class phase : std::uint8_t { idle, running, stopping, finished, stopped };

    void push_injected(task_slot& task) noexcept;
    void notify_one_and_leave() noexcept;
    void wait_for_visitors() const noexcept;
    void cancel_leftovers() noexcept;
    void wake(idle_member& place) noexcept { rouse(place, idle_member::notified); }
    void rouse(idle_member& place, std::uint32_t why) noexcept;
    void wake_all() noexcept;
    nanos earliest_timer() const noexcept;
    bool sleep_virtually() noexcept;
    bool look_at_descriptors() noexcept;
    bool sleep_as_keeper(worker_shared& self, bool& ready) noexcept;
    nanos trim_stacks() noexcept;
    bool sleep_until_notified(worker_shared& self, nanos deadline) noexcept;
    bool sleep_in_reactor(worker_shared& self, nanos deadline, bool& ready) noexcept;

    const options options_;
    task_pool* const tasks_;  // deletes itself when the last task of it has gone
    stack_arena stacks_;
    std::vector<std::unique_ptr<worker_shared>> workers_;
    std::atomic<phase> phase_{phase::idle};
    std::mutex intake_;  // between a hand-in from outside and the end of the running phase
    std::atomic<std::uint64_t> submitted_outside_{0};
    std::atomic<std::uint64_t> outside_ids_{1};
    std::uint64_t swept_at_ = 0;
    std::mutex sweep_;
    // Those outside who hand a task in: as soon as it is in the queue it may run, and end the runtime under them.
    // Counted before it is there; the decrement (release) is their last touch, and the end waits for it (acquire).
    std::atomic<unsigned> visitors_{0};
    std::atomic<nanos> virtual_now_{0};
    alignas(cache_line) injection_queue<task_slot> injected_;
    alignas(cache_line) idle_set idle_;
    io_driver io_;
    // The one waiting worker that watches all timers and descriptors, and until when it sleeps. `never` while it
    // computes that, and when somebody may be waiting without a keeper.
    // Invariant: while workers wait, one of them is the keeper; or one who searches will be, or will appoint one; or
    // whoever leaves the role is about to; or there is nothing to watch, and who arms a timer finds `never`.
    alignas(cache_line) std::atomic<worker_shared*> keeper_{nullptr};
    std::atomic<nanos> keeper_deadline_;
    nanos stack_period_ends_ = 0;  // the keeper's
};

}  // namespace fiber::engine
