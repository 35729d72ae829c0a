#include "bench/peers/boost_fibers.hpp"

#if defined(BENCH_HAVE_BOOST_FIBER)

#include <boost/version.hpp>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>

namespace bench {

boost::fibers::pooled_fixedsize_stack* boost_fibers::pool_ = nullptr;

namespace {

// The threads of the work_stealing scheduler. Worker 0 runs the measured function, the others its stolen fibers.
// Lives until the process ends: its threads cannot leave the scheduler.
class stealing_team {
 public:
    explicit stealing_team(int workers) : workers_(workers) {
        for (int i = 0; i < workers; ++i) std::thread([this, i] { work(i); }).detach();
    }
    int workers() const { return workers_; }
    bool survived_fork() const { return process_ == ::getpid(); }

    void run(const std::function<void()>& f) {
        std::unique_lock lock(mutex_);
        job_ = &f;
        active_ = workers_;
        ++round_;
        changed_.notify_all();
        changed_.wait(lock, [&] { return active_ == 0; });
    }

 private:
    void work(int index) {
        boost::fibers::use_scheduling_algorithm<boost::fibers::algo::work_stealing>(
            static_cast<std::uint32_t>(workers_));
        for (int seen = 0;;) {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [&] { return round_ != seen; });
            seen = round_;
            lock.unlock();
            if (index == 0)
                lead();
            else
                follow(seen);
            lock.lock();
            --active_;
            changed_.notify_all();
        }
    }
    void lead() {
        (*job_)();
        std::lock_guard lock(over_mutex_);
        over_ = round_;
        over_changed_.notify_all();
    }
    // Waits as a fiber, so that this thread's scheduler steals meanwhile.
    void follow(int round) {
        std::unique_lock lock(over_mutex_);
        over_changed_.wait(lock, [&] { return over_ == round; });
    }

    const int workers_;
    const pid_t process_ = ::getpid();
    std::mutex mutex_;
    std::condition_variable changed_;
    const std::function<void()>* job_ = nullptr;
    int round_ = 0;
    int active_ = 0;
    boost::fibers::mutex over_mutex_;
    boost::fibers::condition_variable over_changed_;
    int over_ = 0;
};

void run_stealing(int workers, const std::function<void()>& f) {
    static auto* const team = new stealing_team(workers);
    if (!team->survived_fork()) throw std::runtime_error("work_stealing cannot start again in a forked process");
    if (team->workers() != workers) throw std::runtime_error("work_stealing allows one worker count per process");
    team->run(f);
}

}  // namespace

const char* boost_fibers::configuration() {
    static const std::string text =
        std::string("Boost.Fiber ") + BOOST_LIB_VERSION +
        ", 1 worker: round_robin, pooled_fixedsize_stack; more: work_stealing(n, suspend = "
        "false), fixedsize_stack; fork-join by launch::dispatch on 1 worker, launch::post on more";
    return text.c_str();
}

void boost_fibers::run(int workers, const std::function<void()>& f, int cpus) {
    affinity on(cpus > 0 ? cpus : workers);
    if (workers > 1) return run_stealing(workers, f);
    boost::fibers::pooled_fixedsize_stack pool;
    pool_ = &pool;
    std::thread(f).join();  // a scheduler of its own, gone with its thread
    pool_ = nullptr;
}

}  // namespace bench

#endif
