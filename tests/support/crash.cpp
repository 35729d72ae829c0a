#include "tests/support/crash.hpp"

#include <csignal>
#include <cstddef>
#include <cstring>
#include <execinfo.h>
#include <initializer_list>
#include <unistd.h>

#include "scheduler/base/check.hpp"

namespace fiber_test {

namespace {

void on_crash(int signal) {
    const char* const name = ::sigabbrev_np(signal);
    const char* const words[] = {"\n--- SIG", name != nullptr ? name : "?", ", the stack:\n"};
    for (const char* word : words) static_cast<void>(!::write(STDERR_FILENO, word, std::strlen(word)));
    print_stack();
    ::raise(signal);  // the default action now: SA_RESETHAND
}

}  // namespace

void print_stack() noexcept {
    void* frames[48];
    ::backtrace_symbols_fd(frames, ::backtrace(frames, 48), STDERR_FILENO);
}

void install_crash_handler() {
    if (FIBER_ASAN != 0 || FIBER_TSAN != 0) return;
    void* frame = nullptr;
    static_cast<void>(::backtrace(&frame, 1));  // loads libgcc now: no allocation later, in the handler
    alignas(16) static std::byte stack[64 * 1024];
    const stack_t alternative{stack, 0, sizeof(stack)};
    ::sigaltstack(&alternative, nullptr);
    struct sigaction action {};
    action.sa_handler = on_crash;
    action.sa_flags = static_cast<int>(SA_ONSTACK | SA_RESETHAND);
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) ::sigaction(signal, &action, nullptr);
}

}  // namespace fiber_test
