// idle: a process whose runtime has worked (1,000 short tasks) and now has one fiber asleep for an hour. Figures,
// observed from outside over half a second after a quarter to settle: cpu_us (µs of CPU per second), wakeups (voluntary
// context switches of all its threads per second). The time shown is the CPU time per second of idling. Threads: as
// many as workers, blocked on a condition variable.
#include <chrono>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "bench/harness/process.hpp"
#include "bench/harness/registry.hpp"
#include "bench/peers/systems.hpp"

namespace bench::idle_case {

template <class System>
void work_then_idle(int workers) {
    System::run(workers, [] {
        std::vector<decltype(System::spawn([] {}))> all;
        for (int i = 0; i < 1'000; ++i) all.push_back(System::spawn([] { System::yield(); }));
        for (auto& one : all) one.get();
        System::sleep_for(std::chrono::hours(1));
    });
}

// Watches `process` for half a second.
inline figures watch(pid_t process) {
    using namespace std::chrono_literals;
    constexpr double seconds = 0.5;
    std::this_thread::sleep_for(250ms);
    const double cpu = process_cpu_seconds(process);
    const auto wakeups = voluntary_switches(process);
    std::this_thread::sleep_for(500ms);
    const double cpu_used = process_cpu_seconds(process) - cpu;
    const auto woken = voluntary_switches(process) - wakeups;
    return {{"time", cpu_used / seconds},
            {"cpu_us", cpu_used / seconds * 1e6},
            {"wakeups", static_cast<double>(woken) / seconds}};
}

template <class System>
figures watch_idle(int workers) {
    const pid_t process = ::fork();
    if (process == 0) {
        ::alarm(30);
        work_then_idle<System>(workers);
        ::_exit(1);
    }
    const figures seen = watch(process);
    const bool alive = ::waitpid(process, nullptr, WNOHANG) == 0;
    if (alive) {
        ::kill(process, SIGKILL);
        ::waitpid(process, nullptr, 0);
    }
    if (!alive) throw std::runtime_error("died while idle");
    return seen;
}

constexpr timing own_clock_us{.unit = benchmark::kMicrosecond, .manual = true, .once = true};

const bool added =
    add<fibers, threads, boost_fibers>("idle", own_clock_us, []<class System>(benchmark::State& state, int workers) {
        iterate_in_child(state, [&] { return watch_idle<System>(workers); });
    });

}  // namespace bench::idle_case
