#include "scheduler/core/scheduler.hpp"

#include <limits>

#include "scheduler/base/futex.hpp"
#include "scheduler/base/spin_lock.hpp"
#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/queue_entry.hpp"

namespace fiber::engine {

namespace {

constexpr std::size_t idle_stacks_kept = 1024;  // of each class
constexpr nanos stack_period = 1'000'000'000;   // so long a stack must have been idle to lose its memory
constexpr nanos nobody_sleeps = std::numeric_limits<nanos>::min();  // no deadline is earlier: nobody needs to be told

}  // namespace

scheduler::scheduler(options wanted)
    : options_(std::move(wanted)),
      tasks_(new task_pool(*this)),
      idle_(options_.workers),
      keeper_deadline_(nobody_sleeps) {
    asymmetric_barrier::prepare();
}

scheduler::~scheduler() {
    wait_for_visitors();
    while (task_slot* task = injected_.pop()) {
        std::uint64_t now = 0;
        if (accept_entry(task->state, now) == entry_verdict::run) {
            task->operations->drop(*task);
            finish(*task);
        } else {
            entry_dropped(*task, now);  // of one that was withdrawn
        }
    }
    workers_.clear();
    tasks_->orphan();
}

// --- start and stop ---

void scheduler::adopt(std::vector<std::unique_ptr<worker_shared>> workers) noexcept {
    std::lock_guard guard(intake_);
    submitted_outside_.store(live_tasks(), std::memory_order_seq_cst);
    workers_ = std::move(workers);
    swept_at_ = 0;
}

void scheduler::begin_running(task_slot& main, observer& watch) noexcept {
    (void)observe(main, watch);
    std::lock_guard guard(intake_);
    phase_.store(phase::running, std::memory_order_release);
    submitted_outside_.fetch_add(1, std::memory_order_seq_cst);
    push_injected(main);
}

void scheduler::give_up() noexcept {
    phase_.store(phase::finished, std::memory_order_seq_cst);
    wake_all();
}

void scheduler::end_running(bool ran) noexcept {
    wait_for_visitors();
    io_.end();
    phase_.store(ran ? phase::stopped : phase::idle, std::memory_order_release);
}

bool scheduler::running() const noexcept {
    const phase now = phase_.load(std::memory_order_acquire);
    return now == phase::running || now == phase::stopping;
}

submit_outside_verdict scheduler::submit_outside(task_slot& task) noexcept {
    {
        std::lock_guard guard(intake_);
        const phase now = phase_.load(std::memory_order_relaxed);
        if (now != phase::idle && now != phase::running) return submit_outside_verdict::stopped;
        submitted_outside_.fetch_add(1, std::memory_order_seq_cst);
        visitors_.fetch_add(1, std::memory_order_relaxed);
        push_injected(task);
    }
    notify_one_and_leave();
    return submit_outside_verdict::accepted;
}

bool scheduler::withdraw(task_slot& task) noexcept {
    std::lock_guard guard(intake_);
    if (phase_.load(std::memory_order_relaxed) != phase::idle) return false;
    if (!task.is(task_slot::injected) || !task.is(task_slot::cancel_pending)) return false;
    if (task.state.fetch_or(task_slot::started, std::memory_order_acq_rel) & task_slot::started) return false;
    submitted_outside_.fetch_sub(1, std::memory_order_seq_cst);
    return true;
}

void scheduler::begin_stopping() noexcept {
    {
        std::lock_guard guard(intake_);
        phase_.store(phase::stopping, std::memory_order_seq_cst);
    }
    wake_all();
}

bool scheduler::check_finished() noexcept {
    phase now = phase_.load(std::memory_order_seq_cst);
    if (now == phase::finished) return true;
    if (now != phase::stopping) return false;
    cancel_leftovers();
    if (live_tasks() != 0) return false;
    phase_.store(phase::finished, std::memory_order_seq_cst);
    wake_all();
    return true;
}

// Each task that is left is cancelled once; those that were spawned meanwhile, on the next look.
void scheduler::cancel_leftovers() noexcept {
    const deferred_listeners until_unlocked;
    std::lock_guard guard(sweep_);
    std::uint64_t submitted = submitted_outside_.load(std::memory_order_seq_cst);
    for (const auto& each : workers_) submitted += each->submitted();
    if (submitted == swept_at_) return;
    swept_at_ = submitted;
    tasks_->for_each([](task_slot& task) {
        constexpr std::uint64_t over = task_slot::finished | task_slot::swept;
        std::uint64_t seen = task.state.load(std::memory_order_acquire);
        do {
            if (!(seen & (task_slot::queued | task_slot::started)) || (seen & over)) return;
            // The generation is part of the word: a later task in the slot is not marked in its place.
        } while (!task.state.compare_exchange_weak(seen, seen | task_slot::swept, std::memory_order_acq_rel,
                                                   std::memory_order_acquire));
        (void)cancel(task, nullptr);
    });
}

// Reads all ends before all beginnings: if the sums agree, there was a moment between at which nothing was alive, and
// only something alive can spawn.
std::size_t scheduler::live_tasks() const noexcept {
    std::uint64_t finished = 0;
    for (const auto& each : workers_) finished += each->finished();
    std::uint64_t submitted = submitted_outside_.load(std::memory_order_seq_cst);
    for (const auto& each : workers_) submitted += each->submitted();
    return static_cast<std::size_t>(submitted - finished);
}

std::size_t scheduler::armed_timers() const noexcept {
    std::size_t armed = 0;
    for (const auto& each : workers_) armed += each->armed_timers();
    return armed;
}

// --- work and waiting ---

void scheduler::push_injected(task_slot& task) noexcept {
    task.state.fetch_or(task_slot::injected, std::memory_order_relaxed);  // before the lock that publishes it
    injected_.push(task);
}

void scheduler::inject(task_slot& task) noexcept {
    visitors_.fetch_add(1, std::memory_order_relaxed);
    push_injected(task);
    notify_one_and_leave();
}

void scheduler::notify_one_and_leave() noexcept {
    notify_one();
    visitors_.fetch_sub(1, std::memory_order_release);
}

void scheduler::wait_for_visitors() const noexcept {
    polite_spin::until([this] { return visitors_.load(std::memory_order_acquire) == 0; });
}

// acq_rel: the news are published to whoever reads the word, and `elsewhere` is seen or sees them.
void scheduler::rouse(idle_member& place, std::uint32_t why) noexcept {
    if (place.word.fetch_or(why, std::memory_order_acq_rel) & idle_member::elsewhere) return io_.interrupt();
    futex_wake(&place.word, 1);
}

void scheduler::wake_all() noexcept {
    while (idle_member* place = idle_.notify_always()) wake(*place);
}

bool scheduler::work_visible() const noexcept {
    if (!injected_.empty()) return true;
    for (const auto& each : workers_) {
        if (each->work_visible()) return true;
    }
    return false;
}

nanos scheduler::earliest_timer() const noexcept {
    nanos earliest = never;
    for (const auto& each : workers_) earliest = std::min(earliest, each->next_timer());
    return earliest;
}

void scheduler::expire_due_timers() noexcept {
    if (earliest_timer() == never) return;
    const nanos due = now();
    for (const auto& each : workers_) {
        if (each->next_timer() <= due) each->expire_timers(due);
    }
}

void scheduler::timer_armed(nanos deadline) noexcept {
    if (deadline >= keeper_deadline_.load(std::memory_order_seq_cst)) return;
    if (worker_shared* keeper = keeper_.load(std::memory_order_acquire)) {
        return rouse(keeper->idle_place(), idle_member::kicked);
    }
    notify_one();  // those who wait have no keeper among them
}

void scheduler::io_armed() noexcept {
    worker_shared* keeper = keeper_.load(std::memory_order_seq_cst);  // P2 of the io_driver
    if (keeper == nullptr) return notify_one();
    idle_member& place = keeper->idle_place();
    if (!(place.word.load(std::memory_order_relaxed) & idle_member::elsewhere)) rouse(place, idle_member::kicked);
}

bool scheduler::sleep(worker_shared& self, keeping& how) noexcept {
    // Whoever is the last to wait moves the time; the clock that sleepers know says nothing about it.
    if (options_.virtual_time && !io_.active()) return !sleep_virtually() && sleep_until_notified(self, never);
    worker_shared* keeper = nullptr;
    if (!keeper_.compare_exchange_strong(keeper, &self, std::memory_order_seq_cst)) {
        // With descriptors only the keeper may move the time: it alone knows whether one is ready.
        if (options_.virtual_time && idle_.waiting() == options_.workers) {
            rouse(keeper->idle_place(), idle_member::kicked);
        }
        return sleep_until_notified(self, never);
    }
    bool ready = false;
    const bool notified = sleep_as_keeper(self, ready);
    how = ready ? keeping::kept_with_events : keeping::kept;
    keeper_deadline_.store(nobody_sleeps, std::memory_order_seq_cst);
    keeper_.store(nullptr, std::memory_order_seq_cst);
    return notified;
}

bool scheduler::sleep_as_keeper(worker_shared& self, bool& ready) noexcept {
    for (;;) {
        nanos deadline = never;
        if (!options_.virtual_time) {
            // Announce first, look second: a timer armed meanwhile sees the announcement or is seen.
            keeper_deadline_.store(never, std::memory_order_seq_cst);
            deadline = std::min(earliest_timer(), trim_stacks());
            keeper_deadline_.store(deadline, std::memory_order_seq_cst);
        } else if (idle_.waiting() == options_.workers) {
            ready = io_.active() && look_at_descriptors();
            if (ready || sleep_virtually()) return false;
        }
        const bool notified =
            io_.active() ? sleep_in_reactor(self, deadline, ready) : sleep_until_notified(self, deadline);
        // After a kick there is an earlier timer, a first descriptor, or time to be moved.
        if (notified || ready || earliest_timer() <= now()) return notified;
    }
}

// The memory of stacks that nobody needed for a whole period goes back to the system, a batch at each call, so that the
// keeper is never away for long. Returns when to come again; `never` once there is nothing more to do, for an idle
// process must not wake up.
nanos scheduler::trim_stacks() noexcept {
    if (!stacks_.has_spare(idle_stacks_kept)) return never;
    const nanos time = now();
    if (time < stack_period_ends_) return stack_period_ends_;
    if (stacks_.trim_unused(idle_stacks_kept)) return time;
    stacks_.begin_period();
    return stack_period_ends_ = time + stack_period;
}

void scheduler::pass_on_keeping(keeping how) noexcept {
    if (how == keeping::not_kept) return;
    appoint_keeper();
    if (how == keeping::kept_with_events) io_.deliver_collected();
}

// Sees to it that of those who wait one watches timers and descriptors: now, or as soon as there are any. Called by
// whoever was the keeper, or was on its way to be: the last who searches, when it finds work.
void scheduler::appoint_keeper() noexcept {
    if (keeper_.load(std::memory_order_seq_cst) != nullptr || idle_.waiting() == 0) return;
    if (options_.virtual_time && !io_.active()) return;  // whoever is the last to wait moves the time
    // Say so first, look second: a timer armed meanwhile finds that nobody watches, or is seen. A keeper who has come
    // since is kicked in vain at the worst; one who goes comes here himself.
    keeper_deadline_.store(never, std::memory_order_seq_cst);
    if (earliest_timer() == never && !io_.active()) return;
    // Whoever searches: that may be the caller itself, which a notifier has counted.
    if (idle_member* place = idle_.notify_always()) wake(*place);
}

// All workers wait: time jumps to the next timer. Returns whether it did.
bool scheduler::sleep_virtually() noexcept {
    if (idle_.waiting() != options_.workers) return false;
    const nanos next = earliest_timer();
    if (next == never) return false;
    if (next > virtual_now_.load(std::memory_order_acquire)) virtual_now_.store(next, std::memory_order_release);
    return true;
}

bool scheduler::look_at_descriptors() noexcept {
    io_.begin_collect();
    return io_.collect(0);
}

// The same as sleep_until_notified(), but waits for descriptors, too.
bool scheduler::sleep_in_reactor(worker_shared& self, nanos deadline, bool& ready) noexcept {
    constexpr std::uint32_t news = idle_member::notified | idle_member::kicked;
    std::atomic<std::uint32_t>& word = self.idle_place().word;
    io_.begin_collect();  // first: an interrupt must not go to somebody else who asks for events
    // One RMW comes first, here or in rouse(): either the news are seen here, or the wait is interrupted.
    if (word.fetch_or(idle_member::elsewhere, std::memory_order_acq_rel) & news) {
        io_.give_up_collect();
    } else {
        ready = io_.collect(deadline);
    }
    const std::uint32_t found =
        word.fetch_and(~(idle_member::elsewhere | idle_member::kicked), std::memory_order_acq_rel);
    return found & idle_member::notified;
}

// false: the deadline has come, or a kick.
bool scheduler::sleep_until_notified(worker_shared& self, nanos deadline) noexcept {
    std::atomic<std::uint32_t>& word = self.idle_place().word;
    for (;;) {
        const std::uint32_t seen = word.load(std::memory_order_acquire);
        if (seen & idle_member::notified) return true;
        if (seen & idle_member::kicked) {
            word.fetch_and(~idle_member::kicked, std::memory_order_acq_rel);
            return false;
        }
        if (futex_wait(&word, 0, deadline) == futex_verdict::timed_out) return false;
    }
}

}  // namespace fiber::engine
