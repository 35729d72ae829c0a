// Child processes, real ones: what they get, how they end, and that nothing of them is left.
#include "fiber/process.hpp"

#include <csignal>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {  // glibc 2.36 leaves that to who includes it
#include <sys/pidfd.h>
}

#include "tests/api/fixture.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/no_children.hpp"
#include "tests/support/no_descriptors.hpp"
#include "tests/support/temporary_directory.hpp"

using namespace fiber::test;
namespace io = fiber::io;
using fiber::process;
using fiber::stdio;
using fiber_test::no_children_left;

namespace {

std::atomic<int> pidfd_refusal{0};  // an errno

// While it lives, the kernel has no pidfds to give.
struct refused_pidfds {
    explicit refused_pidfds(int error) { pidfd_refusal = error; }
    ~refused_pidfds() { pidfd_refusal = 0; }
};

std::vector<std::string> shell(const char* script) { return {"/bin/sh", "-c", script}; }

std::string output_of(const std::vector<std::string>& arguments, fiber::process_options options = {}) {
    options.out = stdio::pipe;
    return process(options, arguments).communicate().out;
}

template <class F>
std::string refusal_of(F f) {
    try {
        f();
    } catch (const fiber::invalid_option& refused) {
        return refused.what();
    } catch (const fiber::usage_error& refused) {
        return refused.what();
    }
    return "";
}

struct failure {
    std::error_code code;
    std::string what;
};

failure failure_of(const std::vector<std::string>& arguments, const fiber::process_options& options = {}) {
    try {
        process child(options, arguments);
    } catch (const std::system_error& failed) {
        return {failed.code(), failed.what()};
    }
    return {};
}

}  // namespace

extern "C" int pidfd_open(pid_t child, unsigned flags) noexcept {
    if (const int error = pidfd_refusal) {
        errno = error;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_pidfd_open, child, flags));
}

// --- how they end ---

TEST_CASE("a child runs and ends, with a code or by a signal; others run meanwhile") {
    on_each_worker_count([] {
        process fails(shell("exit 3"));
        const auto status = fails.wait();
        CHECK(status.exited());
        CHECK(status.code() == 3);
        CHECK_FALSE(status.success());
        CHECK(status.to_string() == "exit code 3");
        CHECK(fails.wait() == status);
        CHECK(process({"true"}).wait().success());

        process waits({"sleep", "3600"});
        CHECK(waits.pid() > 0);
        auto waiter = fiber::spawn([&] { return waits.wait(); });
        auto another = fiber::spawn([&] { return waits.wait(); });
        settle();
        CHECK_FALSE(waits.try_wait().has_value());
        CHECK(waits.terminate());
        const auto killed = waiter.get();
        CHECK(killed.signal() == SIGTERM);
        CHECK_FALSE(killed.exited());
        CHECK(killed.to_string() == "signal 15");
        CHECK(another.get() == killed);
        CHECK(waits.try_wait() == killed);
        CHECK_FALSE(waits.kill());
    });
    CHECK(no_children_left());
}

TEST_CASE("the wait for a child can be timed and cancelled; the child goes on") {
    on_each_worker_count([] {
        process child({"sleep", "3600"});
        CHECK_FALSE(child.wait_for(1ms).has_value());
        CHECK_FALSE(child.wait_for(0s).has_value());
        CHECK_FALSE(child.wait_until(std::chrono::steady_clock::now() + 1ms).has_value());
        auto waiter = fiber::spawn([&] { return child.wait(); });
        settle();
        waiter.cancel();
        CHECK_THROWS_AS(waiter.get(), fiber::cancelled);
        CHECK_THROWS_AS(fiber::with_timeout(1ms, [&] { return child.wait(); }), fiber::timeout_error);
        CHECK_FALSE(child.try_wait().has_value());
        CHECK(child.kill(SIGUSR1));
        CHECK(child.wait_for(1h)->signal() == SIGUSR1);
    });
    CHECK(no_children_left());
}

TEST_CASE("the end of the object kills the child, also one that ignores SIGTERM, and of a cancelled task's") {
    on_each_worker_count([] {
        int pid = 0;
        {
            process stubborn({.out = stdio::pipe}, shell("trap '' TERM; echo ready; while :; do sleep 0.01; done"));
            CHECK(stubborn.out().read_until("\n") == "ready\n");
            pid = stubborn.pid();
            CHECK(stubborn.terminate());
            CHECK_FALSE(stubborn.wait_for(20ms).has_value());
        }
        CHECK(::kill(pid, 0) == -1);  // not even a zombie
        auto task = fiber::spawn([&] {
            process child({"sleep", "3600"});
            pid = child.pid();
            child.wait();
        });
        settle();
        task.cancel();
        task.wait();
        CHECK(::kill(pid, 0) == -1);
        auto first = std::make_unique<process>(std::vector<std::string>{"sleep", "3600"});
        process moved = std::move(*first);
        first.reset();
        CHECK_FALSE(moved.try_wait().has_value());
        moved = process({"true"});
        CHECK(moved.wait().success());
    });
    CHECK(no_children_left());
}

TEST_CASE("at the end of run no child is left, whoever still waited") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::atomic<int> waiting{0};
        fixture.run([&] {
            for (int i = 0; i < 5; ++i) {
                fiber::spawn([&] {
                    process child({.in = stdio::pipe, .out = stdio::pipe}, {"cat"});
                    (void)child.communicate(std::string(100'000, 'x'));
                    process other({"sleep", "3600"});
                    ++waiting;
                    other.wait();
                }).detach();
            }
            CHECK(yield_until([&] { return waiting == 5; }));
            settle();
        });
        CHECK(no_children_left());
    });
}

TEST_CASE("a thousand children, many at once: no zombie and no descriptor is left") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        fixture.run([] {
            fiber::counting_semaphore<> at_once(20);
            std::vector<fiber::task<void>> all;
            for (int i = 0; i < scaled(1000); ++i) {
                at_once.acquire();
                all.push_back(fiber::spawn([&, i] {
                    process child({.out = i % 2 ? stdio::pipe : stdio::null}, {"true"});
                    if (i % 3 != 0) CHECK(child.wait().success());
                    at_once.release();
                }));
            }
            fiber::gather(all);
        });
        CHECK(no_children_left());
    });
}

TEST_CASE("without pidfds children are waited for all the same") {
    for (const int reason : {ENOSYS, EPERM, EMFILE}) {
        const refused_pidfds none(reason);
        runtime_fixture fixture(2);
        fixture.run([] {
            CHECK(process(shell("sleep 0.02; exit 7")).wait().code() == 7);
            process child({"sleep", "3600"});
            CHECK_FALSE(child.wait_for(3ms).has_value());
            auto waiter = fiber::spawn([&] { return child.wait(); });
            settle();
            waiter.cancel();
            CHECK_THROWS_AS(waiter.get(), fiber::cancelled);
            CHECK(child.kill(SIGTERM));
            CHECK(child.wait().signal() == SIGTERM);
            process killed({"sleep", "3600"});
        });
        CHECK(process(shell("exit 4")).wait().code() == 4);  // on this thread
        CHECK(no_children_left());
    }
}

TEST_CASE("a status that somebody else took is an error that says so") {
    runtime_fixture fixture(2);
    fixture.run([] {
        process child({"true"});
        CHECK(::waitpid(child.pid(), nullptr, 0) == child.pid());
        try {
            child.wait();
            FAIL("there is no status");
        } catch (const std::system_error& error) {
            CHECK(error.code() == std::errc::no_child_process);
            CHECK(has(error.what(), "\"true\""));
        }
        CHECK_FALSE(child.kill());
    });
}

TEST_CASE("where SIGCHLD is ignored there is no status, but an end") {
    const auto before = std::signal(SIGCHLD, SIG_IGN);
    {
        runtime_fixture fixture(2);
        fixture.run([] {
            process short_lived({"true"});
            CHECK_THROWS_AS(short_lived.wait(), std::system_error);
            process killed({"sleep", "3600"});
            CHECK_FALSE(killed.wait_for(1ms).has_value());
        });
    }
    std::signal(SIGCHLD, before);
    CHECK(no_children_left());
}

// --- what they get ---

TEST_CASE("communicate feeds and collects, more than a pipe holds, and from plain threads, too") {
    on_each_worker_count([] {
        const std::string much(500'000, 'x');
        process echo({.in = stdio::pipe, .out = stdio::pipe, .err = stdio::pipe}, shell("tee /dev/stderr"));
        const auto [out, err, status] = echo.communicate(much);
        CHECK(out == much);
        CHECK(err == much);
        CHECK(status.success());
        // One that does not read its input.
        CHECK(process({.in = stdio::pipe}, {"true"}).communicate(much).status.success());
        CHECK(output_of({"echo", "a b", "", "c"}) == "a b  c\n");
    });
    process sort({.in = stdio::pipe, .out = stdio::pipe}, {"sort", "-u"});
    CHECK(sort.communicate("b\na\nb\n").out == "a\nb\n");
    CHECK(no_children_left());
}

TEST_CASE("more output than the limit is an error; the child is killed with its object") {
    on_each_worker_count([] {
        process endless({.out = stdio::pipe}, {"yes"});
        CHECK_THROWS_AS(endless.communicate({}, 1000), io::limit_overrun);
        CHECK_FALSE(endless.try_wait().has_value());
    });
    CHECK(no_children_left());
}

TEST_CASE("communicate can be cancelled and timed") {
    on_each_worker_count([] {
        process silent({.in = stdio::pipe, .out = stdio::pipe, .err = stdio::pipe}, {"sleep", "3600"});
        auto task = fiber::spawn([&] { (void)silent.communicate(std::string(1'000'000, 'x')); });
        settle();
        task.cancel();
        task.wait();
        CHECK(task.cancelled());
        process another({.out = stdio::pipe}, {"sleep", "3600"});
        CHECK_THROWS_AS(fiber::with_timeout(2ms, [&] { (void)another.communicate(); }), fiber::timeout_error);
        CHECK_FALSE(another.try_wait().has_value());
    });
    CHECK(no_children_left());
}

TEST_CASE("a conversation by lines") {
    on_each_worker_count([] {
        process calculator({.in = stdio::pipe, .out = stdio::pipe},
                           shell("while read -r line; do echo \"$((line * 2))\"; done"));
        for (int i = 0; i < 20; ++i) {
            calculator.in().write_all(std::to_string(i) + "\n");
            CHECK(calculator.out().read_until("\n") == std::to_string(i * 2) + "\n");
        }
        calculator.in().close();
        CHECK(calculator.out().read_all().empty());
        CHECK(calculator.wait().success());
    });
}

TEST_CASE("streams: null, a descriptor, errors to the output; directory, environment, session") {
    on_each_worker_count([] {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        io::pipe_reader from{io::descriptor(ends[0])};
        {
            process child({.in = stdio::null, .out = stdio::use(ends[1]), .err = stdio::to_output},
                          shell("cat; echo out; echo err >&2"));
            CHECK(child.wait().success());
        }
        ::close(ends[1]);
        CHECK(from.read_all() == "out\nerr\n");
        CHECK(output_of({"pwd"}, {.directory = "/"}) == "/\n");
        CHECK(output_of({"/usr/bin/env"}, {.environment = std::vector<std::string>{"A=1", "B=x=y"}}) == "A=1\nB=x=y\n");
        CHECK(output_of({"/usr/bin/env"}, {.environment = std::vector<std::string>{}}).empty());
        CHECK(has(output_of({"/usr/bin/env"}), "PATH="));
        process leader({.new_session = true}, {"sleep", "3600"});
        CHECK(::getsid(leader.pid()) == leader.pid());
    });
}

// The story: a child that wrote to the end of an io::pipe(), or read the output of another child, met EAGAIN: the parent's
// ends do not block, and the flag went along. Few programs expect that: head(1) and wc(1) gave up.
TEST_CASE("a pipe of the parent's that does not block is one that blocks for the child") {
    on_each_worker_count([] {
        auto [reader, writer] = io::pipe();
        process counts({.in = stdio::use(reader.native_handle()), .out = stdio::pipe, .err = stdio::to_output},
                       shell("grep flags /proc/self/fdinfo/0; wc -c"));
        process writes({.out = stdio::use(writer.native_handle())}, {"head", "-c", "1000000", "/dev/zero"});
        CHECK((::fcntl(writer.native_handle(), F_GETFL) & O_NONBLOCK) != 0);
        reader.close();
        writer.close();
        CHECK(writes.wait().success());
        const std::string flags = counts.out().read_until("\n");  // "flags:", octal
        CHECK((std::stoi(flags.substr(flags.find('\t')), nullptr, 8) & O_NONBLOCK) == 0);
        CHECK(counts.out().read_all() == "1000000\n");
        CHECK(counts.wait().success());
    });
}

TEST_CASE("a child gets three descriptors, no blocked and no ignored signal") {
    const int leaked = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC
    sigset_t blocked;
    sigset_t before;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR1);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
    const auto ignored = std::signal(SIGUSR2, SIG_IGN);
    const fiber::signals handled{SIGINT};
    CHECK(output_of({"ls", "/proc/self/fd"}) == "0\n1\n2\n3\n");  // 3: the directory
    const std::string status = output_of({"cat", "/proc/self/status"});
    CHECK(has(status, "SigBlk:\t0000000000000000"));
    constexpr unsigned long c_library = 3ul << 31;  // it has posix_spawn ignore its own two
    CHECK((std::stoul(status.substr(status.find("SigIgn:") + 8), nullptr, 16) & ~c_library) == 0);
    std::signal(SIGUSR2, ignored);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::close(leaked);
}

TEST_CASE("the standard streams may be exchanged, and may be closed in the parent") {
    const auto result = fiber_test::run_in_child([] {
        int out[2];
        int err[2];
        if (::pipe(out) != 0 || ::pipe(err) != 0) ::_exit(1);
        ::dup2(out[1], STDOUT_FILENO);
        ::dup2(err[1], STDERR_FILENO);
        {
            process child({.out = stdio::use(STDERR_FILENO), .err = stdio::use(STDOUT_FILENO)},
                          shell("echo out; echo err >&2"));
            if (!child.wait().success()) ::_exit(2);
        }
        char line[8] = {};
        if (::read(out[0], line, sizeof line) != 4 || std::string(line, 4) != "err\n") ::_exit(3);
        if (::read(err[0], line, sizeof line) != 4 || std::string(line, 4) != "out\n") ::_exit(4);
        ::close(STDIN_FILENO);
        ::close(STDOUT_FILENO);
        process child({.in = stdio::pipe, .out = stdio::pipe}, {"cat"});
        if (child.communicate("through").out != "through") ::_exit(5);
    });
    CHECK(result.status == 0);
}

// --- what cannot be started ---

TEST_CASE("what cannot be started is an error that names the program or the directory, and leaves nothing") {
    on_each_worker_count([] {
        const fiber_test::temporary_directory place;
        const std::string plain = place / "plain";
        const int file = ::open(plain.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CHECK(::write(file, "no program", 10) == 10);
        ::close(file);
        const auto missing = failure_of({"no-such-program"}, {.in = stdio::pipe, .out = stdio::pipe});
        CHECK(missing.code == std::errc::no_such_file_or_directory);
        CHECK(has(missing.what, "run \"no-such-program\""));
        CHECK(failure_of({"/no/such/program"}).code == std::errc::no_such_file_or_directory);
        CHECK(failure_of({plain}).code == std::errc::permission_denied);
        ::chmod(plain.c_str(), 0700);
        CHECK(failure_of({plain}).code == std::errc::executable_format_error);
        const auto nowhere = failure_of({"true"}, {.directory = "/no/such/directory"});
        CHECK(nowhere.code == std::errc::no_such_file_or_directory);
        CHECK(has(nowhere.what, "go to directory \"/no/such/directory\""));
        CHECK(has(failure_of({"no-such-program"}, {.directory = "/"}).what, "in directory \"/\""));
        CHECK(failure_of({"true", std::string(3'000'000, 'x')}).code == std::errc::argument_list_too_long);
    });
    CHECK(no_children_left());
}

TEST_CASE("without descriptors there are no pipes, and the error says so") {
    failure failed;
    try {
        const fiber_test::no_descriptors none;
        process child({.out = stdio::pipe}, {"true"});
    } catch (const std::system_error& error) {
        failed = {error.code(), error.what()};
    }
    CHECK(failed.code == std::errc::too_many_files_open);
    CHECK(has(failed.what, "make a pipe"));
}

TEST_CASE("what cannot be meant is refused") {
    const auto start = [](const std::vector<std::string>& arguments, const fiber::process_options& options = {}) {
        return refusal_of([&] { process child(options, arguments); });
    };
    CHECK(has(start({}), "no arguments"));
    CHECK(has(start({""}), "empty"));
    CHECK(has(start({"true", std::string("a\0b", 3)}), "zero byte"));
    CHECK(has(start({"true"}, {.directory = std::string("/\0tmp", 5)}), "zero byte"));
    CHECK(has(start({"true"}, {.environment = std::vector<std::string>{"NAME"}}), "NAME=value"));
    CHECK(has(start({"true"}, {.environment = std::vector<std::string>{"=value"}}), "NAME=value"));
    CHECK(has(start({"true"}, {.out = stdio::to_output}), "only .err"));
    CHECK(has(start({"true"}, {.in = stdio::use(-1)}), "not open"));
    CHECK(has(start({"true"}, {.in = stdio::descriptor}), "not open"));
    process child({"true"});
    CHECK(has(refusal_of([&] { child.in(); }), ".in is no pipe"));
    CHECK(has(refusal_of([&] { child.out(); }), ".out is no pipe"));
    CHECK(has(refusal_of([&] { child.err(); }), ".err is no pipe"));
    CHECK(has(refusal_of([&] { (void)child.communicate("input"); }), ".in is no pipe"));
    for (const int signal : {0, -1, 65, 1000}) CHECK(has(refusal_of([&] { child.kill(signal); }), "no signal"));
    process moved = std::move(child);
    CHECK(has(refusal_of([&] { child.wait(); }), "moved from"));
    CHECK(has(refusal_of([&] { child.kill(); }), "moved from"));
    CHECK(moved.wait().success());
}
