#include "fiber/process.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <mutex>
#include <unistd.h>

#include "fiber/detail/start_program.hpp"
#include "fiber/error.hpp"
#include "fiber/gather.hpp"
#include "fiber/run.hpp"
#include "fiber/shield.hpp"
#include "fiber/sleep.hpp"
#include "fiber/this_fiber.hpp"

namespace fiber {

using detail::reap_verdict;

// The end of a child is waited for at its pidfd. Where there is none (an old kernel, a sandbox, no descriptor left),
// the waiter looks every now and then instead: a thread for each wait would soon use up the pool of those.
struct process::state {
    std::string program;
    pid_t pid = -1;
    io::descriptor pidfd;  // closed: looks instead
    io::pipe_writer in;
    io::pipe_reader out;
    io::pipe_reader err;
    bool piped[3] = {};

    std::mutex lock;  // of what follows; held over system calls that do not block
    reap_verdict end = reap_verdict::running;
    exit_status status;

    // Takes the status if it is there.
    reap_verdict look_locked() noexcept {
        if (end == reap_verdict::running) end = detail::reap(pid, detail::blocking::no, status);
        return end;
    }
    std::optional<exit_status> look() {
        const std::lock_guard guard(lock);
        switch (look_locked()) {
            case reap_verdict::running:
                return std::nullopt;
            case reap_verdict::ended:
                return status;
            case reap_verdict::gone:
                break;
        }
        throw std::system_error(ECHILD, std::generic_category(),
                                "fiber: wait for \"" + program + "\" (process " + std::to_string(pid) +
                                    "): somebody else took its status; is SIGCHLD ignored?");
    }
    int kill(int signal) noexcept {
        const std::lock_guard guard(lock);
        if (look_locked() == reap_verdict::running) return detail::send_signal(pid, pidfd.native_handle(), signal);
        return ESRCH;
    }
    void kill_and_reap() noexcept;
};

namespace {

// The child's ends of pipes, until it was started.
struct child_ends {
    ~child_ends() {
        for (const int end : all) {
            if (end >= 0) ::close(end);
        }
    }
    int all[3] = {-1, -1, -1};
};

// Makes a pipe; gives the child's end to `ends`, and returns the parent's. Never inlined: see io_call.hpp, errno.
__attribute__((noinline)) io::descriptor make_pipe(child_ends& ends, int which) {
    int both[2];
    if (::pipe2(both, O_CLOEXEC) != 0) {
        throw std::system_error(errno, std::generic_category(), "fiber: process: make a pipe");
    }
    const bool child_reads = which == STDIN_FILENO;
    ends.all[which] = both[child_reads ? 0 : 1];
    return io::detail::own(both[child_reads ? 1 : 0]);
}

constexpr const char* stream_names[] = {"input", "output", "error output"};

constexpr auto first_look = std::chrono::milliseconds(1);
constexpr auto rarest_look = std::chrono::milliseconds(50);

}  // namespace

process::process(const process_options& options, const std::vector<std::string>& arguments) {
    detail::check_program(options, arguments);
    auto made = std::make_unique<state>();
    made->program = arguments.front();
    child_ends ends;
    const stdio* streams[] = {&options.in, &options.out, &options.err};
    for (int which = 0; which < 3; ++which) {
        if (streams[which]->how() != stdio::pipe) continue;
        made->piped[which] = true;
        io::descriptor mine = make_pipe(ends, which);
        const std::string name = std::string("the ") + stream_names[which] + " of \"" + made->program + "\"";
        if (which == STDIN_FILENO) made->in = io::pipe_writer(std::move(mine), name);
        if (which == STDOUT_FILENO) made->out = io::pipe_reader(std::move(mine), name);
        if (which == STDERR_FILENO) made->err = io::pipe_reader(std::move(mine), name);
    }
    made->pid = detail::start_program(options, arguments, ends.all);
    state_ = made.release();
    try {
        const int pidfd = detail::open_pidfd(state_->pid);
        if (pidfd >= 0) state_->pidfd = io::detail::own(pidfd);
    } catch (const std::exception&) {  // no memory: then without
    }
}

process::state& process::started() const {
    if (state_ == nullptr) throw usage_error("fiber: process: this object was moved from, it has no child");
    return *state_;
}

int process::pid() const { return started().pid; }

namespace {

[[noreturn]] void throw_no_pipe(const char* stream) {
    throw usage_error(std::string("fiber: process: .") + stream + " is no pipe; it is with ." + stream +
                      " = stdio::pipe");
}

}  // namespace

io::pipe_writer& process::in() {
    if (!started().piped[STDIN_FILENO]) throw_no_pipe("in");
    return state_->in;
}

io::pipe_reader& process::out() {
    if (!started().piped[STDOUT_FILENO]) throw_no_pipe("out");
    return state_->out;
}

io::pipe_reader& process::err() {
    if (!started().piped[STDERR_FILENO]) throw_no_pipe("err");
    return state_->err;
}

// --- the end ---

std::optional<exit_status> process::try_wait() { return started().look(); }

exit_status process::wait() { return *wait_within({}); }

std::optional<exit_status> process::wait_within(const io::limit& within) {
    state& child = started();
    this_fiber::check_cancelled();
    for (auto pause = first_look;; pause = std::min(pause * 2, rarest_look)) {
        if (auto ended = child.look()) return ended;
        if (child.pidfd.is_open()) {
            std::error_code error;
            child.pidfd.wait_readable(error, within);
            if (error == std::errc::timed_out) return child.look();
            if (error) throw std::system_error(error, "fiber: wait for \"" + child.program + "\"");
        } else {
            const engine::nanos left = within.deadline() - detail::current_time();
            if (within.deadline() != engine::never && left <= 0) return std::nullopt;
            sleep_for(std::min<std::chrono::nanoseconds>(pause, std::chrono::nanoseconds(left)));
        }
    }
}

bool process::kill(int signal) {
    if (signal < 1 || signal > SIGRTMAX) {
        throw invalid_option("fiber: process::kill(" + std::to_string(signal) + "): no signal; 1 to " +
                             std::to_string(SIGRTMAX) + " are");
    }
    const int error = started().kill(signal);
    if (error == 0) return true;
    if (error == ESRCH) return false;
    throw std::system_error(error, std::generic_category(),
                            "fiber: send signal " + std::to_string(signal) + " to \"" + state_->program + "\"");
}

bool process::terminate() { return kill(SIGTERM); }

void process::destroy() noexcept {
    state* const child = std::exchange(state_, nullptr);
    child->kill_and_reap();
    delete child;
}

void process::state::kill_and_reap() noexcept {
    if (kill(SIGKILL) == ESRCH) return;  // it has ended; one that may not be killed is waited for
    try {
        uncancellable([&] {
            if (pidfd.is_open()) pidfd.wait_readable();
        });
    } catch (...) {  // what cannot be waited for blocks the thread
    }
    const std::lock_guard guard(lock);
    if (end == reap_verdict::running) end = detail::reap(pid, detail::blocking::yes, status);
}

// --- communicate ---

process::communicated process::communicate(io::const_bytes input, std::size_t most) {
    state& child = started();
    if (!this_fiber::on_fiber()) {
        communicated result;
        run({.workers = 1}, [&] { result = communicate(input, most); });
        return result;
    }
    if (input.size != 0) (void)in();
    const auto feed = [&] {
        std::error_code error;
        if (input.size != 0) (void)child.in.write_all(input, error);
        child.in.close();
        if (error && error != std::errc::broken_pipe) {
            throw std::system_error(error, "fiber: write to \"" + child.program + "\"");
        }
    };
    const auto collect = [&](io::pipe_reader& from, int which) {
        return child.piped[which] ? from.read_all(most) : std::string();
    };
    auto [fed, out, err] = gather(
        feed, [&] { return collect(child.out, STDOUT_FILENO); }, [&] { return collect(child.err, STDERR_FILENO); });
    (void)fed;
    return {std::move(out), std::move(err), wait()};
}

}  // namespace fiber
