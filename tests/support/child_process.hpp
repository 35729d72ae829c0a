// Runs a function in a forked child and tells how it ended: for tests of what kills a process.
// The child must not rely on threads of the parent, and ends with exit code 0 when the function returns.
#pragma once

#include <csignal>
#include <cstdio>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fiber_test {

struct child_result {
    int status = 0;
    std::string error_output;

    bool killed_by(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }
    bool succeeded() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
};

// Sanitizers' handlers are removed in the child, so that a fault ends it as it would without them.
template <class F>
child_result run_in_child(F&& f) {
    int error_pipe[2];
    if (::pipe(error_pipe) != 0) return {-1, "pipe failed"};
    std::fflush(nullptr);  // or the child might print it again
    const pid_t child = ::fork();
    if (child == 0) {
        ::dup2(error_pipe[1], STDERR_FILENO);
        ::close(error_pipe[0]);
        ::close(error_pipe[1]);
        const rlimit no_core{0, 0};
        ::setrlimit(RLIMIT_CORE, &no_core);
        std::signal(SIGSEGV, SIG_DFL);
        std::signal(SIGBUS, SIG_DFL);
        f();
        ::_exit(0);
    }
    ::close(error_pipe[1]);
    child_result result;
    char buffer[512];
    for (ssize_t length = 0; (length = ::read(error_pipe[0], buffer, sizeof buffer)) > 0;) {
        result.error_output.append(buffer, static_cast<std::size_t>(length));
    }
    ::close(error_pipe[0]);
    ::waitpid(child, &result.status, 0);
    return result;
}

}  // namespace fiber_test
