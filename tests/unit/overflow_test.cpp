// A stack overflow is described and then kills; every other fault goes where it went before. Each case dies in a child.
#include "scheduler/context/overflow.hpp"

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <doctest/doctest.h>
#include <string>
#include <thread>
#include <unistd.h>

#include "scheduler/context/context.hpp"
#include "scheduler/context/stack_arena.hpp"
#include "tests/support/child_process.hpp"

namespace {

using namespace fiber::engine;
using fiber_test::run_in_child;

// The stack that is about to overflow; stands in for what the core knows of its workers.
stack_view current;

int describe(const void* fault, char* buffer, std::size_t size) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(fault), limit = reinterpret_cast<std::uintptr_t>(current.limit);
    if (at >= limit || at < limit - page_size()) return 0;
    signal_safe_text text(buffer, size);
    text << "stack overflow: fiber \"deep\", " << promised_size(0) / 1024 << " KiB, spawned at here.cpp:" << 7u << "\n";
    return text.length();
}

int describe_otherwise(const void*, char* buffer, std::size_t size) noexcept {
    return (signal_safe_text(buffer, size) << "the second describer\n").length();
}

__attribute__((noinline)) int recurse(volatile int* depth) noexcept {
    volatile char frame[256];
    frame[0] = static_cast<char>(*depth);
    *depth = *depth + 1;
    if (*depth < 0) return 0;
    return recurse(depth) + frame[0];
}

void overflow_on_a_fiber() {
    stack_arena arena;
    context here, there;
    current = arena.acquire(0);
    there.make(current, [](void*) noexcept {
        int depth = 0;
        ::_exit(recurse(&depth));
    });
    switch_to(here, there, nullptr, *thread_exception_globals());
}

volatile std::uintptr_t no_mans_land = 64;

void fault_elsewhere() { *reinterpret_cast<volatile int*>(no_mans_land) = 1; }

void theirs_with_info(int, siginfo_t* info, void*) {
    ::_exit(reinterpret_cast<std::uintptr_t>(info->si_addr) == 64 ? 42 : 43);
}

void theirs_plain(int) { ::_exit(44); }

bool thread_has_signal_stack() {
    stack_t now{};
    return ::sigaltstack(nullptr, &now) == 0 && (now.ss_flags & SS_DISABLE) == 0;
}

constexpr char message[] = "stack overflow: fiber \"deep\", 16 KiB, spawned at here.cpp:7\n";

}  // namespace

TEST_CASE("overflow: text that is safe in a signal handler") {
    char buffer[16];
    CHECK((signal_safe_text(buffer, sizeof buffer) << "a" << 0u << "b" << 1203u).length() == 7);
    CHECK(std::string(buffer, 7) == "a0b1203");
    signal_safe_text cut(buffer, 4);
    cut << "abc" << 18'446'744'073'709'551'615u << "d";
    CHECK(cut.length() == 4);
    CHECK(std::string(buffer, 4) == "abc1");
}

TEST_CASE("overflow: described on stderr, then the default action") {
    if (!overflow_handler_supported) return;
    const auto result = run_in_child([] {
        const alternate_signal_stack mine;
        install_overflow_handler(&describe);
        install_overflow_handler(&describe_otherwise);
        overflow_on_a_fiber();
    });
    CHECK(result.killed_by(SIGSEGV));
    CHECK(result.error_output == message);
}

TEST_CASE("overflow: on another thread") {
    if (!overflow_handler_supported) return;
    const auto result = run_in_child([] {
        install_overflow_handler(&describe);
        std::thread([] {
            const alternate_signal_stack mine;
            overflow_on_a_fiber();
        }).join();
    });
    CHECK(result.killed_by(SIGSEGV));
    CHECK(result.error_output == message);
}

TEST_CASE("overflow: without a signal stack it still kills, silently") {
    if (!overflow_handler_supported) return;
    const auto result = run_in_child([] {
        stack_t none{};
        none.ss_flags = SS_DISABLE;
        ::sigaltstack(&none, nullptr);
        install_overflow_handler(&describe);
        overflow_on_a_fiber();
    });
    CHECK(result.killed_by(SIGSEGV));
    CHECK(result.error_output.empty());
}

TEST_CASE("overflow: other faults die as before") {
    if (!overflow_handler_supported) return;
    const auto fault = run_in_child([] {
        const alternate_signal_stack mine;
        install_overflow_handler(&describe);
        fault_elsewhere();
    });
    CHECK(fault.killed_by(SIGSEGV));
    CHECK(fault.error_output.empty());

    // A signal that was sent carries no address: the describer, which would claim it, is not asked.
    for (const int signal : {SIGSEGV, SIGBUS}) {
        const auto sent = run_in_child([&] {
            install_overflow_handler(&describe_otherwise);
            ::kill(::getpid(), signal);
            ::pause();
        });
        CHECK(sent.killed_by(signal));
        CHECK(sent.error_output.empty());
    }
}

TEST_CASE("overflow: other faults reach the handler that was there before") {
    if (!overflow_handler_supported) return;
    const auto with_info = run_in_child([] {
        struct sigaction action {};
        action.sa_sigaction = &theirs_with_info;
        action.sa_flags = SA_SIGINFO;
        ::sigaction(SIGSEGV, &action, nullptr);
        install_overflow_handler(&describe);
        fault_elsewhere();
    });
    CHECK(WIFEXITED(with_info.status));
    CHECK(WEXITSTATUS(with_info.status) == 42);

    const auto plain = run_in_child([] {
        std::signal(SIGSEGV, &theirs_plain);
        install_overflow_handler(&describe);
        fault_elsewhere();
    });
    CHECK(WIFEXITED(plain.status));
    CHECK(WEXITSTATUS(plain.status) == 44);

    const auto ours_first = run_in_child([] {
        std::signal(SIGSEGV, &theirs_plain);
        const alternate_signal_stack mine;
        install_overflow_handler(&describe);
        overflow_on_a_fiber();
    });
    CHECK(ours_first.killed_by(SIGSEGV));
    CHECK(ours_first.error_output == message);

    const auto ignored = run_in_child([] {
        std::signal(SIGSEGV, SIG_IGN);
        install_overflow_handler(&describe);
        ::kill(::getpid(), SIGSEGV);
        fault_elsewhere();
    });
    CHECK(ignored.killed_by(SIGSEGV));
}

TEST_CASE("overflow: a thread's signal stack comes and goes") {
    if (!overflow_handler_supported) return;
    std::thread([] {
        CHECK(!thread_has_signal_stack());
        {
            const alternate_signal_stack mine;
            CHECK(thread_has_signal_stack());
            stack_t before{}, inside{}, after{};
            ::sigaltstack(nullptr, &before);
            CHECK(before.ss_size >= 64 * 1024);
            {
                const alternate_signal_stack again;
                ::sigaltstack(nullptr, &inside);
            }
            ::sigaltstack(nullptr, &after);
            CHECK(inside.ss_sp == before.ss_sp);
            CHECK(after.ss_sp == before.ss_sp);
            CHECK(thread_has_signal_stack());
        }
        CHECK(!thread_has_signal_stack());
    }).join();
}
