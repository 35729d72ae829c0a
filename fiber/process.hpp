// Child processes: asyncio.create_subprocess_exec
// (https://docs.python.org/3/library/asyncio-subprocess.html).
//
//   fiber::process sort({.in = fiber::stdio::pipe, .out = fiber::stdio::pipe}, {"sort", "-u"});
//   auto [out, err, status] = sort.communicate("b\na\nb\n");
//
// A process object owns its child: the destructor kills what still runs and takes its status, so that no zombie is
// left. A child gets its three standard streams and no other descriptor, no blocked signal, and the default for every
// signal.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fiber/io.hpp"
#include "fiber/pipe.hpp"
#include "fiber/process_options.hpp"

namespace fiber {

// Thread safety: any number of fibers and threads may wait and kill; each stream as its class says; communicate() is
// a use of all three. Moving and destroying: alone. Used within one running runtime at a time, and from plain threads.
class process {
 public:
    struct communicated {
        std::string out;
        std::string err;
        exit_status status;
    };

    // Starts arguments[0], which is looked for in the parent's PATH if it has no slash (and in `directory` if it is
    // relative and has one), with all of the arguments. Holds the caller's worker until the kernel has loaded the
    // program. Throws std::system_error that names the program, or the directory (not found, not executable, argument
    // list too long, no descriptors, no process); invalid_option; std::bad_alloc. Then nothing was started.
    explicit process(const std::vector<std::string>& arguments) : process(process_options(), arguments) {}
    process(const process_options& options, const std::vector<std::string>& arguments);
    process(process&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    process& operator=(process&& other) noexcept {
        process(std::move(other)).swap(*this);
        return *this;
    }
    // Of a child that has not ended: kills it and waits for its end, whatever the signals that it ignores. It parks for
    // that, and cannot be cancelled. Children of the child's live on. One that must not be killed, because it has
    // become another user's, is waited for all the same.
    ~process() {
        if (state_ != nullptr) destroy();
    }
    void swap(process& other) noexcept { std::swap(state_, other.state_); }

    // All that follow throw usage_error if the object was moved from.

    // The child's number, good for signals until wait() has seen its end. Never waits.
    int pid() const;

    // The parent's ends of what is stdio::pipe. Throw usage_error if it is not.
    io::pipe_writer& in();
    io::pipe_reader& out();
    io::pipe_reader& err();

    // Parks until the child has ended. Again: the same. A child whose pipes are full does not end: read them, or use
    // communicate(). Cancellation point; the child goes on. Throws std::system_error (ECHILD) if somebody else took the
    // status: SIGCHLD is ignored, or there is a call of wait(2) for any child.
    exit_status wait();
    // The same for a time; nullopt: it still runs. Throw besides std::invalid_argument for NaN.
    template <class Rep, class Period>
    std::optional<exit_status> wait_for(const std::chrono::duration<Rep, Period>& length) {
        return wait_within(io::limit(length));
    }
    template <class Clock, class Duration>
    std::optional<exit_status> wait_until(const std::chrono::time_point<Clock, Duration>& when) {
        return wait_within(io::limit(when));
    }
    // Never waits.
    std::optional<exit_status> try_wait();

    // Sends a signal. false: it has ended. Never another process, even if the number is used again. Never waits.
    // Throws invalid_option for what is no signal, std::system_error (EPERM: it has become another user's).
    bool kill(int signal = 9);
    bool terminate();  // SIGTERM

    // Writes `input`, closes the child's input, reads what comes from the piped ones of out and err, and waits for the
    // end. A child that does not read all of its input is no error. More than `most` bytes on one of them:
    // io::limit_overrun; the child then still runs, until it is destroyed. Throws usage_error for input without
    // .in = stdio::pipe, std::system_error. Cancellation point: what has come by then is lost. On a plain thread it
    // runs a runtime of its own.
    communicated communicate(io::const_bytes input = {}, std::size_t most = io::default_most);

 private:
    struct state;

    std::optional<exit_status> wait_within(const io::limit& within);
    state& started() const;
    void destroy() noexcept;

    state* state_ = nullptr;
};

}  // namespace fiber
