// Ends a test that hangs. A thread of its own watches the running test case; when its time is up, it prints every
// report that was registered, then where each thread of the process stands, and aborts. The limit is FIBER_TEST_TIMEOUT
// seconds for one test case (default 120; 0 switches the watchdog off).
#pragma once

#include <string>

namespace fiber_test {

// Starts the thread. Call once, before the first test case.
void start_watchdog();

// A test case begins: its time starts to run. Any thread.
void watch_test_case(const std::string& name);

// The test case has ended. Any thread.
void unwatch_test_case();

// Registers a report, for as long as it lives, that is printed if a test case hangs: `print(argument)` writes the state
// of something to stderr. It runs on the watchdog's thread while all others go on, so it must take no lock and trust no
// data.
class hang_report {
 public:
    using function = void (*)(void* argument);

    hang_report(const char* title, function print, void* argument);
    ~hang_report();
    hang_report(const hang_report&) = delete;
    hang_report& operator=(const hang_report&) = delete;

 private:
    friend void print_hang_reports();

    const char* title_;
    function print_;
    void* argument_;
    hang_report* next_ = nullptr;
};

}  // namespace fiber_test
