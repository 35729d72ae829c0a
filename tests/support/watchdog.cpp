#include "tests/support/watchdog.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <execinfo.h>
#include <fstream>
#include <mutex>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/support/crash.hpp"

namespace fiber_test {

namespace {

using clock = std::chrono::steady_clock;

struct watch {
    std::mutex lock;
    std::condition_variable changed;
    std::string name;
    clock::time_point deadline = clock::time_point::max();
    std::chrono::seconds limit{120};
    hang_report* reports = nullptr;
};

// Never destroyed: the watchdog's thread outlives main().
watch& the_watch() {
    static watch* const instance = new watch;
    return *instance;
}

std::atomic<bool> trace_finished{false};

// Runs on the thread in question, in whatever code it was.
void print_own_trace(int) {
    print_stack();
    trace_finished.store(true, std::memory_order_release);  // with the acquire load in print_trace_of
}

std::string first_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// A thread that blocks the signal, or that a sanitizer keeps from handling it, is given up after a short while.
void print_trace_of(pid_t thread) {
    using namespace std::chrono_literals;
    trace_finished.store(false, std::memory_order_relaxed);
    if (::syscall(SYS_tgkill, ::getpid(), thread, SIGUSR2) != 0) return;
    for (int i = 0; i < 50 && !trace_finished.load(std::memory_order_acquire); ++i) std::this_thread::sleep_for(10ms);
}

std::vector<pid_t> other_threads() {
    std::vector<pid_t> threads;
    const auto self = static_cast<pid_t>(::syscall(SYS_gettid));
    DIR* const directory = ::opendir("/proc/self/task");
    if (directory == nullptr) return threads;
    while (const dirent* entry = ::readdir(directory)) {
        const auto thread = static_cast<pid_t>(std::atoi(entry->d_name));
        if (thread > 0 && thread != self) threads.push_back(thread);
    }
    ::closedir(directory);
    std::sort(threads.begin(), threads.end());
    return threads;
}

void print_threads() {
    struct sigaction action {};
    action.sa_handler = print_own_trace;
    action.sa_flags = SA_ONSTACK;
    ::sigaction(SIGUSR2, &action, nullptr);
    for (const pid_t thread : other_threads()) {
        const std::string directory = "/proc/self/task/" + std::to_string(thread);
        std::fprintf(stderr, "\n--- thread %d (%s), waits in: %s, system call: %s\n", static_cast<int>(thread),
                     first_line(directory + "/comm").c_str(), first_line(directory + "/wchan").c_str(),
                     first_line(directory + "/syscall").c_str());
        print_trace_of(thread);
    }
}

[[noreturn]] void dump_and_abort(const std::string& name, std::chrono::seconds limit);

void watch_loop() {
    watch& state = the_watch();
    std::unique_lock guard(state.lock);
    for (;;) {
        if (state.deadline == clock::time_point::max()) {
            state.changed.wait(guard);
        } else if (clock::now() < state.deadline) {
            state.changed.wait_until(guard, state.deadline);
        } else {
            dump_and_abort(state.name, state.limit);
        }
    }
}

}  // namespace

void print_hang_reports() {
    for (const hang_report* report = the_watch().reports; report != nullptr; report = report->next_) {
        std::fprintf(stderr, "\n--- %s\n", report->title_);
        report->print_(report->argument_);
    }
}

namespace {

void dump_and_abort(const std::string& name, std::chrono::seconds limit) {
    std::signal(SIGALRM, SIG_DFL);
    ::alarm(30);  // the dump itself may run into whatever is broken
    std::fprintf(stderr, "\nwatchdog: the test case \"%s\" has not ended within %lld s (FIBER_TEST_TIMEOUT)\n",
                 name.c_str(), static_cast<long long>(limit.count()));
    print_hang_reports();
    print_threads();
    std::fflush(stderr);
    std::signal(SIGABRT, SIG_DFL);
    std::abort();
}

}  // namespace

void start_watchdog() {
    watch& state = the_watch();
    if (const char* text = std::getenv("FIBER_TEST_TIMEOUT")) state.limit = std::chrono::seconds(std::atol(text));
    if (state.limit.count() <= 0) return;
    void* frame = nullptr;
    static_cast<void>(::backtrace(&frame, 1));  // loads libgcc now: no allocation later, in the signal handler
    std::thread(watch_loop).detach();
}

void watch_test_case(const std::string& name) {
    watch& state = the_watch();
    const std::lock_guard guard(state.lock);
    state.name = name;
    state.deadline = clock::now() + state.limit;
    state.changed.notify_one();
}

void unwatch_test_case() {
    watch& state = the_watch();
    const std::lock_guard guard(state.lock);
    state.deadline = clock::time_point::max();
    state.changed.notify_one();
}

hang_report::hang_report(const char* title, function print, void* argument)
    : title_(title), print_(print), argument_(argument) {
    watch& state = the_watch();
    const std::lock_guard guard(state.lock);
    next_ = state.reports;
    state.reports = this;
}

hang_report::~hang_report() {
    watch& state = the_watch();
    const std::lock_guard guard(state.lock);
    hang_report** link = &state.reports;
    while (*link != this) link = &(*link)->next_;
    *link = next_;
}

}  // namespace fiber_test
