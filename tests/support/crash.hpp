// Says where a test crashed: on SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT prints the stack, then lets the default
// happen. Not in sanitized builds: the sanitizers do it better. The library's handler for overflowing stacks comes
// first.
#pragma once

namespace fiber_test {

// Call once, on the main thread, before anything else can go wrong.
void install_crash_handler();

// Any thread, also in a signal handler: prints the calling stack to stderr, one frame a line. What backtrace() does is
// not promised to be safe in a handler; the processes that call this are about to end.
void print_stack() noexcept;

}  // namespace fiber_test
