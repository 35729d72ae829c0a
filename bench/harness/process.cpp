#include "bench/harness/process.hpp"

#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace bench {

namespace {

// The number behind `key` in a file of "key:   number" lines; 0 if there is none.
std::int64_t number_in(const std::string& path, const std::string& key) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        if (line.compare(0, key.size(), key) == 0 && line.size() > key.size() && line[key.size()] == ':')
            return std::stoll(line.substr(key.size() + 1));
    }
    return 0;
}

double seconds(const timespec& t) { return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec); }

int child_pipe = -1;  // in a child of in_child(): where its figures go

void send(const std::string& text) {
    [[maybe_unused]] const auto written = ::write(child_pipe, text.data(), text.size());
}

std::string read_all(int pipe) {
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = ::read(pipe, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
    return text;
}

}  // namespace

memory_use memory_now() {
    const std::string status = "/proc/self/status";
    return {number_in(status, "VmRSS") * 1024, number_in(status, "VmHWM") * 1024, number_in(status, "VmPTE") * 1024,
            number_in("/proc/meminfo", "KernelStack") * 1024};
}

double process_cpu_seconds() {
    timespec t{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return seconds(t);
}

double process_cpu_seconds(pid_t process) {
    clockid_t clock;
    timespec t{};
    if (::clock_getcpuclockid(process, &clock) != 0 || ::clock_gettime(clock, &t) != 0) return 0;
    return seconds(t);
}

void stopwatch::finish(benchmark::State& state, double operations) const {
    const double cpu = process_cpu_seconds() - cpu_;
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - wall_;
    state.SetIterationTime(wall.count() / operations);
    state.counters["cpu_ns"] = cpu / operations * 1e9;
}

std::int64_t voluntary_switches(pid_t process) {
    std::int64_t sum = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task"))
        sum += number_in(task.path() / "status", "voluntary_ctxt_switches");
    return sum;
}

// "ok name value name value …"
void finish_child(const figures& result) {
    std::ostringstream text;
    text.precision(17);
    text << "ok";
    for (const auto& [name, value] : result) text << ' ' << name << ' ' << value;
    send(text.str());
    ::_exit(0);
}

figures in_child(const std::function<figures()>& measure, unsigned limit_seconds) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe failed");
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("fork failed");
    if (child == 0) {
        ::close(ends[0]);
        child_pipe = ends[1];
        ::alarm(limit_seconds);
        try {
            finish_child(measure());
        } catch (const std::exception& error) {
            send(std::string("error ") + error.what());
        } catch (...) {
            send("error unknown exception");
        }
        ::_exit(1);
    }
    ::close(ends[1]);
    const std::string text = read_all(ends[0]);
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        const int signal = WTERMSIG(status);
        throw std::runtime_error(signal == SIGALRM ? "took too long" : std::string("died: ") + ::strsignal(signal));
    }
    if (text.compare(0, 2, "ok") != 0) throw std::runtime_error(text.empty() ? "died without a word" : text);
    figures result;
    std::istringstream words(text.substr(2));
    std::string name;
    for (double value; words >> name >> value;) result[name] = value;
    return result;
}

void iterate_in_child(benchmark::State& state, const std::function<figures()>& measure) {
    for (auto _ : state) {
        try {
            for (const auto& [name, value] : in_child(measure)) {
                if (name == "time")
                    state.SetIterationTime(value);
                else
                    state.counters[name] = value;
            }
        } catch (const std::exception& error) {
            state.SkipWithError(error.what());
            break;
        }
    }
}

}  // namespace bench
