// The pool's queue, its threads' loop, and its end.
//
// One thread at a time is on its way to the queue (coming): woken, being started, or looking around before it sleeps.
// It takes one job and, if more wait, calls the next thread. So each waiting job has somebody who will see to it, while
// a submitter pays for at most one wake-up in the time one thread takes to arrive, and not for one per job.
#include "scheduler/core/offload_pool.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <system_error>
#include <utility>

#include "scheduler/base/check.hpp"
#include "scheduler/base/futex.hpp"
#include "scheduler/base/spin_lock.hpp"
#include "scheduler/core/cpu_count.hpp"

namespace fiber::engine {

namespace {

// Lives on the stack of a thread that waits for a job. The lock guards it.
struct idle_thread : list_node {
    std::atomic<std::uint32_t> called{0};
};

// What is to be done after the lock has been released.
struct next_step {
    enum class kind : std::uint8_t { nothing, wake, start } what = kind::nothing;
    const std::atomic<std::uint32_t>* word = nullptr;  // to wake; may be gone by then, which futex_wake allows
};

// After a failed start the next attempt waits this long: a failure costs tens of microseconds, and would meet every
// call.
constexpr nanos start_pause = 10'000'000;

// Blocks what other threads of the program are there to handle. Faults stay: they belong to the thread that causes
// them, and while blocked would end the process without a word from its handler.
class signals_blocked {
 public:
    signals_blocked() noexcept {
        sigset_t asynchronous;
        ::sigfillset(&asynchronous);
        for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) ::sigdelset(&asynchronous, fault);
        ::pthread_sigmask(SIG_BLOCK, &asynchronous, &before_);
    }
    signals_blocked(const signals_blocked&) = delete;
    signals_blocked& operator=(const signals_blocked&) = delete;
    ~signals_blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
    sigset_t before_;
};

}  // namespace

// Owned by the pool and by each of its threads. Everything below `lock` is guarded by it.
struct offload_pool::shared_state {
    using guard = std::unique_lock<spin_lock>;
    using kind = next_step::kind;

    explicit shared_state(const options& chosen) noexcept
        : max_threads(chosen.max_threads != 0 ? chosen.max_threads : std::min<std::size_t>(32, available_cpus() + 4)),
          queue_limit(std::max<std::size_t>(chosen.queue_limit, 1)),
          idle_timeout(chosen.idle_timeout),
          start_thread(chosen.start_thread) {
        std::snprintf(name, sizeof name, "%s", chosen.name);
    }

    // The pool's threads.
    static void* thread_main(void* state);
    void serve() noexcept;
    bool wait_for_job(guard& held) noexcept;
    void end_thread(guard& held) noexcept;

    // Any thread.
    void start_first_thread();
    next_step next_locked() noexcept;
    void reserve_start_locked() noexcept;
    void perform(next_step step) noexcept;
    int start_reserved() noexcept;
    void push_locked(offload_job& job) noexcept;
    offload_job* pop_locked() noexcept;
    bool full_locked() const noexcept { return queued >= queue_limit; }
    void drop_waiting() noexcept;
    bool notify_space() noexcept;
    void call_idle_threads() noexcept;
    void announce_end_locked() noexcept;
    bool wait_for_end(nanos deadline) noexcept;
    void join_ended() noexcept;
    void release() noexcept;

    const std::size_t max_threads;
    const std::size_t queue_limit;
    const nanos idle_timeout;
    const thread_starter start_thread;
    char name[12];

    std::atomic<std::uint32_t> owners{1};
    std::atomic<unsigned> names_given{1};
    std::atomic<std::uint32_t> ends{0};  // counts the threads that ended after the stop; shutdown() sleeps on it
    std::mutex first_thread;             // held while a thread is started and there is none; before `lock`

    std::mutex space_lock;  // guards space_waiters, and held during notify; before `lock`
    intrusive_list<space_waiter> space_waiters;

    alignas(cache_line) spin_lock lock;
    bool coming = false;        // a thread is on its way to the queue
    bool starting = false;      // one of `threads` is not certain to exist yet; nobody ends for want of work meanwhile
    bool stopped = false;       // no more jobs are accepted
    bool dropping = false;      // no more jobs are begun
    bool abandoned = false;     // nobody will join the threads that are left
    bool space_wanted = false;  // space_waiters may hold somebody
    std::size_t queued = 0;
    intrusive_list<offload_job> queue;
    std::size_t threads = 0;
    std::size_t idle_count = 0;
    intrusive_list<idle_thread> idle;  // latest first: its caches are warm, and those not needed grow old and end
    nanos start_again_at = 0;          // 0: the last start succeeded
    bool has_ended = false;
    pthread_t last_ended{};  // has joined its predecessors, and is joined by its successor or by shutdown()
};

// ---- the threads ----------------------------------------------------------------------------------------------------

namespace {
thread_local const void* served_pool = nullptr;  // of a pool's thread: the inner state of its pool
}

bool offload_pool::runs_caller() const noexcept { return served_pool == state_; }

void* offload_pool::shared_state::thread_main(void* state) {
    served_pool = state;
    auto* self = static_cast<shared_state*>(state);
    self->serve();
    self->release();
    return nullptr;
}

void offload_pool::shared_state::serve() noexcept {
    char full_name[16];
    std::snprintf(full_name, sizeof full_name, "%s-%u", name,
                  names_given.fetch_add(1, std::memory_order_relaxed) % 1000);
    ::pthread_setname_np(::pthread_self(), full_name);
    guard held(lock);
    coming = false;  // not before it looks at the queue: a job that came in between would start a second thread
    for (;;) {
        if (offload_job* job = dropping ? nullptr : pop_locked()) {
            const next_step step = next_locked();
            const bool room = space_wanted;
            held.unlock();
            perform(step);
            if (room) notify_space();
            job->run(job);
            held.lock();
        } else if (stopped) {
            break;
        } else if (space_wanted) {
            // The queue is empty, yet somebody waits for space: those who were notified did not come back.
            held.unlock();
            notify_space();
            held.lock();
        } else if (!wait_for_job(held)) {
            break;
        }
    }
    end_thread(held);
}

// False when the thread has waited in vain for idle_timeout and shall end.
bool offload_pool::shared_state::wait_for_job(guard& held) noexcept {
    idle_thread me;
    idle.push_front(me);
    ++idle_count;
    for (;;) {
        held.unlock();
        const futex_verdict verdict = futex_wait(&me.called, 0, saturating_add(monotonic_now(), idle_timeout));
        held.lock();
        if (me.called.load(std::memory_order_relaxed) != 0) {
            coming = false;
            return true;
        }
        if (verdict == futex_verdict::timed_out && !starting) {
            me.unlink();
            --idle_count;
            return !queue.empty();
        }
    }
}

// The thread's last act under the lock. Each thread joins the one that ended before it, so that at most one ended
// thread stands unjoined, and whoever joins the last one knows that all are gone.
void offload_pool::shared_state::end_thread(guard& held) noexcept {
    --threads;
    const bool join = std::exchange(has_ended, !abandoned);
    const pthread_t before = std::exchange(last_ended, ::pthread_self());
    if (abandoned) ::pthread_detach(::pthread_self());
    if (stopped) announce_end_locked();
    held.unlock();
    if (join) ::pthread_join(before, nullptr);
}

// Wakes whoever waits in shutdown(). A rare call into the kernel under the lock: nothing contends for it any more.
void offload_pool::shared_state::announce_end_locked() noexcept {
    ends.fetch_add(1, std::memory_order_relaxed);  // the lock orders it
    futex_wake(&ends, 1 << 30);
}

// ---- the queue ------------------------------------------------------------------------------------------------------

void offload_pool::shared_state::push_locked(offload_job& job) noexcept {
    queue.push_back(job);
    ++queued;
}

// nullptr when no job waits.
offload_job* offload_pool::shared_state::pop_locked() noexcept {
    offload_job* job = queue.pop_front();
    if (job != nullptr) --queued;
    return job;
}

// Who has to come for the jobs that wait, if nobody is on the way.
next_step offload_pool::shared_state::next_locked() noexcept {
    if (coming || queue.empty() || dropping) return {};
    if (idle_thread* thread = idle.pop_front()) {
        --idle_count;
        coming = true;
        thread->called.store(1, std::memory_order_relaxed);  // read under the lock; the futex orders nothing
        return {kind::wake, &thread->called};
    }
    if (starting || threads >= max_threads || (start_again_at != 0 && monotonic_now() < start_again_at)) return {};
    reserve_start_locked();
    return {kind::start};
}

void offload_pool::shared_state::reserve_start_locked() noexcept {
    starting = coming = true;
    ++threads;
}

// Requires: the lock is not held.
void offload_pool::shared_state::perform(next_step step) noexcept {
    while (step.what == kind::start) {
        start_reserved();  // when it fails there is another thread: the jobs wait for that one
        guard held(lock);
        step = next_locked();
    }
    if (step.what == kind::wake) futex_wake(step.word, 1);
}

// Starts the thread that reserve_start_locked() counted. 0, or an error number, and then it is counted no more.
int offload_pool::shared_state::start_reserved() noexcept {
    owners.fetch_add(1, std::memory_order_relaxed);  // from an owner: nothing to order
    pthread_t thread;
    int error = 0;
    {
        const signals_blocked inherited;
        error = start_thread(&thread, nullptr, thread_main, this);
    }
    const guard held(lock);
    starting = false;
    start_again_at = error == 0 ? 0 : monotonic_now() + start_pause;
    if (error != 0) {
        coming = false;
        --threads;
        owners.fetch_sub(1, std::memory_order_relaxed);  // the caller's own share keeps the state
        if (stopped) announce_end_locked();
    }
    return error;
}

// Without any thread no job may be queued, or nobody would see to it: so the first one is started before.
// Throws std::system_error.
void offload_pool::shared_state::start_first_thread() {
    const std::lock_guard one_at_a_time(first_thread);
    {
        const guard held(lock);
        if (stopped || threads != 0) return;
        reserve_start_locked();
    }
    if (const int error = start_reserved(); error != 0) {
        throw std::system_error(error, std::generic_category(), "fiber: no thread can be started for a blocking call");
    }
}

void offload_pool::shared_state::drop_waiting() noexcept {
    for (;;) {
        guard held(lock);
        offload_job* job = pop_locked();
        held.unlock();
        if (job == nullptr) return;
        job->drop(job);
    }
}

// ---- waiting for space ----------------------------------------------------------------------------------------------

// Notifies the first one. False when there is none.
bool offload_pool::shared_state::notify_space() noexcept {
    const std::lock_guard waiting(space_lock);
    space_waiter* waiter = space_waiters.pop_front();
    if (space_waiters.empty()) {
        const guard held(lock);
        space_wanted = false;
    }
    if (waiter == nullptr) return false;
    waiter->notify(waiter);
    return true;
}

bool offload_pool::wait_for_space(space_waiter& waiter) noexcept {
    FIBER_ASSERT(waiter.notify != nullptr);
    const std::lock_guard waiting(state_->space_lock);
    {
        const shared_state::guard held(state_->lock);
        if (state_->stopped || !state_->full_locked()) return false;
        state_->space_wanted = true;
    }
    state_->space_waiters.push_back(waiter);
    return true;
}

bool offload_pool::cancel_wait(space_waiter& waiter) noexcept {
    const std::lock_guard waiting(state_->space_lock);
    if (!waiter.linked()) return false;
    waiter.unlink();
    return true;
}

// ---- jobs -----------------------------------------------------------------------------------------------------------

submit_verdict offload_pool::submit(offload_job& job) {
    FIBER_ASSERT(job.run != nullptr && job.drop != nullptr && !job.linked());
    for (;;) {
        shared_state::guard held(state_->lock);
        if (state_->stopped) return submit_verdict::stopped;
        if (state_->full_locked()) return submit_verdict::full;
        if (state_->threads > (state_->starting ? 1 : 0)) {
            state_->push_locked(job);
            const next_step step = state_->next_locked();
            held.unlock();
            state_->perform(step);
            return submit_verdict::accepted;
        }
        held.unlock();
        state_->start_first_thread();
    }
}

bool offload_pool::withdraw(offload_job& job) noexcept {
    shared_state::guard held(state_->lock);
    if (!job.linked()) return false;
    job.unlink();
    --state_->queued;
    const bool room = state_->space_wanted;
    held.unlock();
    if (room) state_->notify_space();
    return true;
}

// ---- the end --------------------------------------------------------------------------------------------------------

// Sends every idle thread to look at the flags.
void offload_pool::shared_state::call_idle_threads() noexcept {
    for (;;) {
        guard held(lock);
        idle_thread* thread = idle.pop_front();
        if (thread == nullptr) return;
        --idle_count;
        thread->called.store(1, std::memory_order_relaxed);  // as in next_locked()
        const auto* word = &thread->called;
        held.unlock();
        futex_wake(word, 1);
    }
}

// False when threads are left at the deadline.
bool offload_pool::shared_state::wait_for_end(nanos deadline) noexcept {
    for (auto verdict = futex_verdict::woken;;) {
        guard held(lock);
        if (threads == 0) return true;
        const std::uint32_t seen = ends.load(std::memory_order_relaxed);
        held.unlock();
        if (verdict == futex_verdict::timed_out) return false;
        verdict = futex_wait(&ends, seen, deadline);
    }
}

// Waits for the last steps of the threads that have left the loop.
void offload_pool::shared_state::join_ended() noexcept {
    guard held(lock);
    const bool join = std::exchange(has_ended, false);
    const pthread_t thread = last_ended;
    held.unlock();
    if (join) ::pthread_join(thread, nullptr);
}

bool offload_pool::shutdown(nanos deadline, leftover waiting) noexcept {
    shared_state& state = *state_;
    {
        const shared_state::guard held(state.lock);
        state.stopped = true;
        if (waiting == leftover::drop) state.dropping = true;
    }
    if (waiting == leftover::drop) state.drop_waiting();
    state.call_idle_threads();
    while (state.notify_space()) {
    }
    const bool ended = state.wait_for_end(deadline);
    if (!ended) {
        const shared_state::guard held(state.lock);
        state.dropping = state.abandoned = true;
    }
    if (!ended) state.drop_waiting();
    state.join_ended();
    return ended;
}

void offload_pool::shared_state::release() noexcept {
    // acq_rel pairs with itself: whoever deletes sees all that the other owners did.
    if (owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

offload_pool::offload_pool(const options& chosen) : state_(new shared_state(chosen)) {}

offload_pool::~offload_pool() {
    bool stopped = false;
    {
        const shared_state::guard held(state_->lock);
        stopped = state_->stopped;
    }
    if (!stopped) shutdown(never, leftover::drop);
    state_->release();
}

offload_pool::statistics_snapshot offload_pool::statistics() const noexcept {
    const shared_state::guard held(state_->lock);
    return {state_->threads, state_->idle_count, state_->queued};
}

}  // namespace fiber::engine
