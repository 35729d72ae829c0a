// The main function of every test executable: doctest's, with a printed seed, a watchdog, and a result file.
//
// FIBER_TEST_RESULTS=file  appends one line for each test case as it starts and ends, so that a crash leaves behind
//                          which test it was:  "start <name>", then "pass|fail <seconds> <name>", separated by tabs
// FIBER_TEST_SEED=number   replays a run (see seed.hpp)
// FIBER_TEST_TIMEOUT=s     see watchdog.hpp
//
// doctest installs no signal handlers here: crashes belong to the library's own handler, to the sanitizers, and to
// crash.hpp.
#define DOCTEST_CONFIG_IMPLEMENT
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#include <cstdio>
#include <cstdlib>
#include <doctest/doctest.h>
#include <random>
#include <string>

#include "tests/support/crash.hpp"
#include "tests/support/seed.hpp"
#include "tests/support/watchdog.hpp"

// Defaults of the sanitizers; the environment overrides them, one by one.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
    return "detect_stack_use_after_return=0:strict_string_checks=1:check_initialization_order=1";
}
extern "C" const char* __ubsan_default_options();
extern "C" const char* __ubsan_default_options() { return "halt_on_error=1:print_stacktrace=1"; }
// libstdc++ counts an exception's references with atomics that TSan does not see, in a library that is not
// instrumented: the last owner's delete looks like a race with an earlier owner's what().
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
    return "race:std::runtime_error::~runtime_error\nrace:std::logic_error::~logic_error\nrace:std::__exception_ptr::"
           "exception_ptr::_M_release\n";
}
extern "C" const char* __tsan_default_options();
// die_after_fork=0: tests of a deliberate crash fork, and the watchdog's thread already exists.
extern "C" const char* __tsan_default_options() { return "halt_on_error=1:second_deadlock_stack=1:die_after_fork=0"; }

namespace {

std::uint64_t choose_seed() {
    if (const char* text = std::getenv("FIBER_TEST_SEED")) return std::strtoull(text, nullptr, 0);
    return std::random_device{}();
}

// Tells the watchdog and the result file about each test case. doctest makes one per run.
class case_listener : public doctest::IReporter {
 public:
    explicit case_listener(const doctest::ContextOptions&) {
        if (const char* path = std::getenv("FIBER_TEST_RESULTS")) results_ = std::fopen(path, "a");
    }
    ~case_listener() override {
        if (results_ != nullptr) std::fclose(results_);
    }
    case_listener(const case_listener&) = delete;
    case_listener& operator=(const case_listener&) = delete;

    void test_case_start(const doctest::TestCaseData& data) override {
        name_ = data.m_name;
        if (data.m_test_suite != nullptr && *data.m_test_suite != '\0')
            name_ = std::string(data.m_test_suite) + ": " + name_;
        fiber_test::watch_test_case(name_);
        print("start\t%s\n", name_.c_str());
    }

    void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
        fiber_test::unwatch_test_case();
        print("%s\t%.3f\t%s\n", stats.testCaseSuccess ? "pass" : "fail", stats.seconds, name_.c_str());
    }

    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats&) override {}
    void test_case_reenter(const doctest::TestCaseData&) override {}
    void test_case_exception(const doctest::TestCaseException&) override {}
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}
    void test_case_skipped(const doctest::TestCaseData&) override {}

 private:
    template <typename... Arguments>
    void print(const char* format, Arguments... arguments) {
        if (results_ == nullptr) return;
        std::fprintf(results_, format, arguments...);
        std::fflush(results_);
    }

    std::FILE* results_ = nullptr;
    std::string name_;
};

REGISTER_LISTENER("cases", 1, case_listener);

}  // namespace

std::uint64_t fiber_test::seed() noexcept {
    static const std::uint64_t value = choose_seed();
    return value;
}

int main(int argc, char** argv) {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    std::printf("FIBER_TEST_SEED=%llu\n", static_cast<unsigned long long>(fiber_test::seed()));
    fiber_test::install_crash_handler();
    doctest::Context context(argc, argv);
    fiber_test::start_watchdog();
    return context.run();
}
