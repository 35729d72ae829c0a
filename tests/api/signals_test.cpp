// Signals that are waited for: each watcher sees each, none is lost, what was set before comes back.
#include <csignal>
#include <unistd.h>

#include "tests/api/fixture.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/no_descriptors.hpp"

using namespace fiber::test;

namespace {

std::atomic<int> handled_by_others{0};
void count(int) { ++handled_by_others; }

// A disposition of the test's own, while it lives.
struct handler_set {
    handler_set(int number, void (*handler)(int)) : number(number) {
        struct sigaction action {};
        action.sa_handler = handler;
        ::sigaction(number, &action, &before);
    }
    ~handler_set() { ::sigaction(number, &before, nullptr); }
    handler_set(const handler_set&) = delete;
    handler_set& operator=(const handler_set&) = delete;

    const int number;
    struct sigaction before {};
};

bool handles(int number, void (*handler)(int)) {
    struct sigaction now {};
    ::sigaction(number, nullptr, &now);
    return now.sa_handler == handler;
}

template <class F>
std::string refusal_of(F f) {
    try {
        f();
    } catch (const fiber::invalid_option& refused) {
        return refused.what();
    }
    return "";
}

}  // namespace

TEST_CASE("a signal that arrives wakes the fiber that waits for it; others run meanwhile") {
    on_each_worker_count([] {
        fiber::signals stop{SIGUSR1, SIGUSR2};
        auto waits = fiber::spawn([&] { return stop.wait(); });
        settle();
        CHECK_FALSE(waits.done());
        ::raise(SIGUSR2);
        CHECK(waits.get() == SIGUSR2);
        ::raise(SIGUSR1);
        CHECK(stop.wait() == SIGUSR1);  // it came before it was asked for
        CHECK_FALSE(stop.try_wait().has_value());
    });
}

TEST_CASE("every object that names a signal sees it; several of one number count as one") {
    on_each_worker_count([] {
        fiber::signals one{SIGUSR1};
        fiber::signals both{SIGUSR1, SIGUSR2};
        fiber::signals other{SIGUSR2};
        for (int i = 0; i < 3; ++i) ::raise(SIGUSR1);
        CHECK(one.wait() == SIGUSR1);
        CHECK(both.wait() == SIGUSR1);
        for (fiber::signals* each : {&one, &both, &other}) CHECK_FALSE(each->try_wait().has_value());
    });
}

TEST_CASE("two fibers wait on one object: two signals wake both, whatever one takes") {
    on_each_worker_count([] {
        for (int round = 0; round < 50; ++round) {
            fiber::signals both{SIGUSR1, SIGUSR2};
            auto a = fiber::spawn([&] { return both.wait(); });
            auto b = fiber::spawn([&] { return both.wait(); });
            if (round % 2 == 0) settle();
            ::raise(SIGUSR2);
            ::raise(SIGUSR1);
            CHECK(a.get() + b.get() == SIGUSR1 + SIGUSR2);
        }
    });
}

TEST_CASE("the wait for a signal can be timed and cancelled, and loses none") {
    on_each_worker_count([] {
        fiber::signals stop{SIGUSR1};
        CHECK_FALSE(stop.wait_for(1ms).has_value());
        CHECK_FALSE(stop.wait_until(std::chrono::steady_clock::now()).has_value());
        auto waits = fiber::spawn([&] { return stop.wait(); });
        settle();
        waits.cancel();
        ::raise(SIGUSR1);
        waits.wait();
        // Whoever was faster: it is delivered once.
        CHECK(waits.cancelled() == stop.try_wait().has_value());
        CHECK_THROWS_AS(fiber::with_timeout(1ms, [&] { return stop.wait(); }), fiber::timeout_error);
    });
}

// The story: after 64 waits that nothing had hindered, one let others run before it looked. It was cancelled there, the
// signal came, it took the signal all the same, and its task ended as cancelled: nobody got the signal.
TEST_CASE("a signal that comes after the cancellation of who waits for it is there for the next") {
    on_each_worker_count([] {
        fiber::signals stop{SIGUSR1};
        int lost = 0;
        for (int round = 0; round < 200; ++round) {
            auto waits = fiber::spawn([&] { return stop.wait(); });
            fiber::yield();
            CHECK(waits.cancel());
            ::raise(SIGUSR1);
            waits.wait();
            lost += stop.try_wait().has_value() ? 0 : 1;
        }
        CHECK(lost == 0);
    });
}

TEST_CASE("a plain thread waits for signals, too") {
    fiber::signals stop{SIGUSR1};
    std::jthread sends([] { ::kill(::getpid(), SIGUSR1); });
    CHECK(stop.wait_for(patience) == SIGUSR1);
}

// Under TSan the signal waited until the thread that it had met woke for another reason, or until the fiber that it had
// met came back: with all workers asleep, never.
TEST_CASE("a signal that another process or thread sends reaches a program all of whose workers sleep") {
    on_each_worker_count([] {
        fiber::signals stop{SIGUSR1};
        for (int i = 0; i < 20; ++i) {
            auto waits = fiber::spawn([&] { return stop.wait(); });
            settle();
            std::jthread sends([] { ::kill(::getpid(), SIGUSR1); });
            CHECK(waits.wait_for(patience));
        }
    });
}

TEST_CASE("what was set for a signal before comes back with the end of the last object, and not earlier") {
    const handler_set mine(SIGUSR1, &count);
    handled_by_others = 0;
    {
        std::optional<fiber::signals> first(std::in_place, std::initializer_list<int>{SIGUSR1});
        fiber::signals second{SIGUSR1};
        first.reset();
        CHECK_FALSE(handles(SIGUSR1, &count));
        ::raise(SIGUSR1);
        CHECK(second.wait() == SIGUSR1);
        CHECK(handled_by_others == 0);
    }
    CHECK(handles(SIGUSR1, &count));
    ::raise(SIGUSR1);
    CHECK(handled_by_others == 1);
}

TEST_CASE("a handler that somebody set meanwhile stays") {
    const handler_set nothing(SIGUSR1, SIG_IGN);
    {
        fiber::signals stop{SIGUSR1};
        std::signal(SIGUSR1, &count);
    }
    CHECK(handles(SIGUSR1, &count));
}

TEST_CASE("a signal ends the process again when nobody waits for it any more") {
    const auto result = fiber_test::run_in_child([] {
        std::signal(SIGTERM, SIG_DFL);
        { const fiber::signals stop{SIGTERM}; }
        ::raise(SIGTERM);
    });
    CHECK(result.killed_by(SIGTERM));
}

// The story: a signal was sent to the process, and its object was destroyed before some thread took the signal in. It
// met what had been set before, the default, and ended the process.
TEST_CASE("a signal that was sent before the end of the last object does not end the process behind it") {
    const auto result = fiber_test::run_in_child([] {
        std::signal(SIGTERM, SIG_DFL);
        sigset_t term;
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        {
            const fiber::signals stop{SIGTERM};
            ::sigprocmask(SIG_BLOCK, &term, nullptr);  // no thread takes it in
            ::raise(SIGTERM);
        }
        ::sigprocmask(SIG_UNBLOCK, &term, nullptr);
    });
    CHECK(result.succeeded());
}

// The story: the end of the last object ignored its signals for a moment, to discard what was on its way. Children that
// ended while SIGCHLD was ignored left no status, and process::wait() said that somebody else had taken it.
TEST_CASE("the end of the last object that names SIGCHLD takes no child's status: SIGCHLD is never ignored") {
    const handler_set mine(SIGCHLD, &count);
    handled_by_others = 0;
    sigset_t child;
    sigset_t before;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    ::pthread_sigmask(SIG_BLOCK, &child, &before);
    {
        const fiber::signals ended{SIGCHLD};
        ::raise(SIGCHLD);  // pends: to ignore it would discard it
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    CHECK(handled_by_others == 1);
}

TEST_CASE("what is no signal, or cannot be waited for, is refused, and nothing is handled") {
    CHECK(refusal_of([] { fiber::signals none{}; }).find("the set is empty") != std::string::npos);
    CHECK(refusal_of([] { fiber::signals s{0}; }).find("0 is no signal") != std::string::npos);
    CHECK(refusal_of([] { fiber::signals s{-1}; }).find("no signal") != std::string::npos);
    CHECK(refusal_of([] { fiber::signals s{65}; }).find("no signal") != std::string::npos);
    CHECK(refusal_of([] { fiber::signals s{SIGUSR1, SIGKILL}; }).find("cannot be waited for") != std::string::npos);
    CHECK(refusal_of([] { fiber::signals s{SIGSTOP}; }).find("cannot be waited for") != std::string::npos);
    CHECK(refusal_of([] { fiber::signals s{SIGSEGV}; }).find("fault") != std::string::npos);
    const handler_set mine(SIGUSR1, &count);
    CHECK(refusal_of([] { fiber::signals s{SIGUSR1, 32}; }).find("C library") != std::string::npos);
    CHECK(handles(SIGUSR1, &count));
}

TEST_CASE("without a descriptor for the bell there is an error that says so, and nothing is handled") {
    const handler_set mine(SIGUSR1, &count);
    std::error_code error;
    try {
        const fiber_test::no_descriptors none;
        fiber::signals s{SIGUSR1};
    } catch (const std::system_error& failed) {
        error = failed.code();
    }
    CHECK(error == std::errc::too_many_files_open);
    CHECK(handles(SIGUSR1, &count));
}

// The story: a server's first wait for a descriptor in its runtime came when its clients had taken all descriptors. The
// wait for SIGTERM failed, in a task that nobody asked before the server's end, and so the server had none.
TEST_CASE("a signal is waited for also while there is no descriptor to watch descriptors with") {
    on_each_worker_count([] {
        fiber::signals stop{SIGUSR1};
        std::optional<fiber_test::no_descriptors> none(std::in_place);
        auto waits = fiber::spawn([&] { return stop.wait(); });
        settle();
        const bool timed = stop.wait_for(1ms).has_value();
        auto cancelled = fiber::spawn([&] { return stop.wait(); });
        settle();
        cancelled.cancel();
        cancelled.wait();
        ::raise(SIGUSR1);
        waits.wait();
        none.reset();
        CHECK_FALSE(timed);
        CHECK(cancelled.cancelled());
        CHECK(waits.get() == SIGUSR1);
    });
}

TEST_CASE("several runtimes and a plain thread wait for one signal: each gets it") {
    fiber::signals mine{SIGUSR1};
    std::atomic<int> waiting{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
            fiber::run({.workers = 2}, [&] {
                fiber::signals stop{SIGUSR1};
                ++waiting;
                CHECK(stop.wait() == SIGUSR1);
            });
        });
    }
    CHECK(spin_until([&] { return waiting == 3; }));
    ::raise(SIGUSR1);
    CHECK(mine.wait() == SIGUSR1);
    for (auto& each : threads) each.join();
}

TEST_CASE("a forked child's signals do not count here") {
    fiber::signals mine{SIGUSR1};
    CHECK(fiber_test::run_in_child([] { ::raise(SIGUSR1); }).succeeded());
    CHECK_FALSE(mine.wait_for(1ms).has_value());
    ::raise(SIGUSR1);
    CHECK(mine.wait() == SIGUSR1);
}

TEST_CASE("signals from everywhere while objects come and go: none is lost, nothing is left") {
    on_each_worker_count([] {
        std::atomic<bool> over{false};
        fiber::signals keeps_handled{SIGUSR1};  // or one could end the process
        std::jthread storm([&] {
            while (!over) ::kill(::getpid(), SIGUSR1);
        });
        auto comes_and_goes = fiber::spawn([] {
            for (int i = 0; i < 200; ++i) {
                fiber::signals brief{SIGUSR1, SIGUSR2};
                CHECK(brief.wait() == SIGUSR1);
            }
        });
        for (int i = 0; i < 200; ++i) CHECK(keeps_handled.wait_for(patience) == SIGUSR1);
        comes_and_goes.get();
        over = true;
    });
}
