#include "fiber/detail/start_program.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <new>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <utility>

extern "C" {  // glibc 2.36 leaves that to who includes it
#include <sys/pidfd.h>
}

#include "fiber/error.hpp"

namespace fiber::detail {

namespace {

constexpr const char* stream_names[] = {"in", "out", "err"};

void check_text(const char* what, const std::string& text) {
    if (text.find('\0') == std::string::npos) return;
    throw invalid_option(std::string("fiber: process: ") + what + " \"" + text.c_str() + "\" has a zero byte in it");
}

void check_stream(const stdio& stream, int which) {
    const std::string named = std::string("fiber: process: .") + stream_names[which];
    if (stream.how() == stdio::to_output && which != STDERR_FILENO) {
        throw invalid_option(named + ": only .err can go to the output");
    }
    if (stream.how() == stdio::descriptor && ::fcntl(stream.number(), F_GETFD) < 0) {
        throw invalid_option(named + ": descriptor " + std::to_string(stream.number()) + " is not open");
    }
    if (stream.how() > stdio::descriptor) throw invalid_option(named + " has an unknown mode");
}

void check(int error, const char* what) {
    if (error == ENOMEM) throw std::bad_alloc();
    if (error != 0) throw std::system_error(error, std::generic_category(), std::string("fiber: process: ") + what);
}

// A non-blocking pipe once more, as an open file of its own that blocks: a program expects that of its streams, and the
// caller's may not lose the flag, which belongs to the open file. -1: it is something else, or there is no /proc.
int open_blocking(int pipe) {
    const int flags = ::fcntl(pipe, F_GETFL);
    struct stat what {};
    if (flags < 0 || !(flags & O_NONBLOCK) || ::fstat(pipe, &what) != 0 || !S_ISFIFO(what.st_mode)) return -1;
    // Opened without O_NONBLOCK a FIFO would wait for its other end.
    const std::string path = "/proc/self/fd/" + std::to_string(pipe);
    const int opened = ::open(path.c_str(), (flags & (O_ACCMODE | O_DIRECT)) | O_NONBLOCK | O_CLOEXEC);
    if (opened < 0 && (errno == EMFILE || errno == ENFILE)) check(errno, "open a pipe again, so that it blocks");
    if (opened >= 0) (void)::fcntl(opened, F_SETFL, flags & O_DIRECT);
    return opened;
}

// A descriptor above the standard ones, so that setting one stream does not overwrite the source of another.
class high_descriptor {
 public:
    high_descriptor() noexcept = default;
    ~high_descriptor() {
        if (mine_ >= 0) ::close(mine_);
    }
    high_descriptor(const high_descriptor&) = delete;
    high_descriptor& operator=(const high_descriptor&) = delete;

    int from(int fd) {
        mine_ = open_blocking(fd);
        if (mine_ > STDERR_FILENO) return mine_;
        const int low = std::exchange(mine_, -1);
        if (low < 0 && fd > STDERR_FILENO) return fd;
        mine_ = ::fcntl(low < 0 ? fd : low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        const int error = errno;
        if (low >= 0) ::close(low);
        if (mine_ < 0) check(error, "duplicate a descriptor");
        return mine_;
    }

 private:
    int mine_ = -1;
};

class spawn_actions {
 public:
    spawn_actions() { check(::posix_spawn_file_actions_init(&actions_), "prepare"); }
    ~spawn_actions() { ::posix_spawn_file_actions_destroy(&actions_); }
    spawn_actions(const spawn_actions&) = delete;
    spawn_actions& operator=(const spawn_actions&) = delete;

    void set_stream(int which, const stdio& stream, int pipe) {
        switch (stream.how()) {
            case stdio::inherit:
                return;
            case stdio::null:
                return check(::posix_spawn_file_actions_addopen(&actions_, which, "/dev/null", O_RDWR, 0), "prepare");
            case stdio::to_output:
                return duplicate(STDOUT_FILENO, which);
            case stdio::pipe:
                return duplicate(sources_[which].from(pipe), which);
            case stdio::descriptor:
                return duplicate(sources_[which].from(stream.number()), which);
        }
    }
    void set_directory(const std::string& directory) {
        check(::posix_spawn_file_actions_addchdir_np(&actions_, directory.c_str()), "prepare");
    }
    // Also what others opened without O_CLOEXEC, as Python does.
    void close_all_others() {
        check(::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1), "prepare");
    }

    const posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

 private:
    void duplicate(int from, int to) { check(::posix_spawn_file_actions_adddup2(&actions_, from, to), "prepare"); }

    posix_spawn_file_actions_t actions_;
    high_descriptor sources_[3];
};

class spawn_attributes {
 public:
    explicit spawn_attributes(bool new_session) {
        check(::posix_spawnattr_init(&attributes_), "prepare");
        sigset_t none;
        sigset_t all;
        ::sigemptyset(&none);
        ::sigfillset(&all);
        ::posix_spawnattr_setsigmask(&attributes_, &none);
        ::posix_spawnattr_setsigdefault(&attributes_, &all);
        const int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (new_session ? POSIX_SPAWN_SETSID : 0);
        ::posix_spawnattr_setflags(&attributes_, static_cast<short>(flags));
    }
    ~spawn_attributes() { ::posix_spawnattr_destroy(&attributes_); }
    spawn_attributes(const spawn_attributes&) = delete;
    spawn_attributes& operator=(const spawn_attributes&) = delete;

    const posix_spawnattr_t* get() const noexcept { return &attributes_; }

 private:
    posix_spawnattr_t attributes_;
};

// As exec takes them: pointers into the strings, and a null pointer behind.
std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
    std::vector<char*> all;
    all.reserve(texts.size() + 1);
    for (const std::string& text : texts) all.push_back(const_cast<char*>(text.c_str()));
    all.push_back(nullptr);
    return all;
}

[[noreturn]] void fail_to_start(int error, const std::string& program, const std::string& directory) {
    std::string what = "fiber: process: run \"" + program + "\"";
    if (!directory.empty()) {
        const bool directory_is_wrong = ::access(directory.c_str(), X_OK) != 0 && errno == error;
        what += directory_is_wrong ? ": go to directory \"" + directory + "\"" : " in directory \"" + directory + "\"";
    }
    throw std::system_error(error, std::generic_category(), what);
}

}  // namespace

void check_program(const process_options& options, const std::vector<std::string>& arguments) {
    if (arguments.empty()) throw invalid_option("fiber: process: there are no arguments; the first is the program");
    if (arguments.front().empty()) throw invalid_option("fiber: process: the name of the program is empty");
    for (const std::string& argument : arguments) check_text("argument", argument);
    check_text("directory", options.directory);
    if (options.environment) {
        for (const std::string& variable : *options.environment) {
            check_text("environment variable", variable);
            if (variable.find('=', 1) != std::string::npos) continue;
            throw invalid_option("fiber: process: environment variable \"" + variable + "\" is not NAME=value");
        }
    }
    const stdio* streams[] = {&options.in, &options.out, &options.err};
    for (int which = 0; which < 3; ++which) check_stream(*streams[which], which);
}

// Never inlined, nor what follows: compilers keep the address of errno, which is the thread's, across the waits of a
// caller.
__attribute__((noinline)) pid_t start_program(const process_options& options, const std::vector<std::string>& arguments,
                                              const int (&pipes)[3]) {
    spawn_actions actions;
    const stdio* streams[] = {&options.in, &options.out, &options.err};
    for (int which = 0; which < 3; ++which) actions.set_stream(which, *streams[which], pipes[which]);
    if (!options.directory.empty()) actions.set_directory(options.directory);
    actions.close_all_others();
    const spawn_attributes attributes(options.new_session);
    const std::vector<char*> argv = pointers_to(arguments);
    std::vector<char*> variables;
    if (options.environment) variables = pointers_to(*options.environment);
    pid_t child = -1;
    const int error = ::posix_spawnp(&child, argv.front(), actions.get(), attributes.get(), argv.data(),
                                     options.environment ? variables.data() : environ);
    if (error != 0) fail_to_start(error, arguments.front(), options.directory);
    return child;
}

__attribute__((noinline)) reap_verdict reap(pid_t child, blocking may_block, exit_status& status) noexcept {
    siginfo_t end{};
    const int options = WEXITED | (may_block == blocking::yes ? 0 : WNOHANG);
    while (::waitid(P_PID, static_cast<id_t>(child), &end, options) != 0) {
        if (errno != EINTR) return reap_verdict::gone;
    }
    if (end.si_pid == 0) return reap_verdict::running;
    status = end.si_code == CLD_EXITED ? exit_status(end.si_status, 0) : exit_status(-1, end.si_status);
    return reap_verdict::ended;
}

__attribute__((noinline)) int open_pidfd(pid_t child) noexcept { return ::pidfd_open(child, 0); }

__attribute__((noinline)) int send_signal(pid_t child, int pidfd, int signal) noexcept {
    const int failed = pidfd >= 0 ? ::pidfd_send_signal(pidfd, signal, nullptr, 0) : ::kill(child, signal);
    return failed == 0 ? 0 : errno;
}

}  // namespace fiber::detail
