// Runs a program again and again, with each of its requests for memory, threads or mappings failing in turn.
// Thread safety: on the thread that runs the test case, one at a time.
#pragma once

#include <algorithm>
#include <new>
#include <system_error>

#include "tests/api/fault_injection.hpp"
#include "tests/api/fixture.hpp"

namespace fiber::test {

struct failure_verdict {
    bool injected = false;
    bool refused = false;  // ended with an exception that says what ran out
    bool right = false;
};

// Is it one of the exceptions that may come of it?
inline bool says_what_ran_out(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
        return true;
    } catch (const std::system_error&) {
        return true;
    } catch (const fiber::start_error&) {
        return true;
    } catch (const fiber::exception_group& group) {
        return std::ranges::all_of(group.exceptions(), says_what_ran_out);
    } catch (...) {
        return false;
    }
}

template <class Program>
failure_verdict run_with_failure(resource what, long nth, failure_span span, Program program) {
    failure_verdict result;
    const injected_failure failure(what, nth, span);
    try {
        result.right = program() == 1;
    } catch (...) {
        result.refused = says_what_ran_out(std::current_exception());
        if (!result.refused) throw;
    }
    result.injected = failure.happened();
    return result;
}

// Runs the program again and again, with the failure one request later each time, until none fails.
template <class Program>
void fail_at_each_request(resource what, Program program) {
    if (!can_fail(what)) return;
    REQUIRE(program() == 1);  // what is made once per process is made now
    for (const failure_span span : {failure_span::one_request, failure_span::all_from_there}) {
        for (long nth = 0;; ++nth) {
            REQUIRE(nth < 2000);
            failure_verdict result;
            {
                const resource_guard guard;
                result = run_with_failure(what, nth, span, program);
            }
            CHECK_MESSAGE((result.right || result.refused), "request ", nth);
            if (!result.injected) {
                CHECK_FALSE(result.refused);
                break;
            }
        }
    }
    CHECK(program() == 1);
}

// A runtime's options that report nothing: exceptions that nobody retrieved are to be expected.
inline fiber::runtime_options quiet(unsigned workers) {
    fiber::runtime_options options{.workers = workers};
    options.on_unretrieved_exception = [](const fiber::unretrieved_exception&) {};
    return options;
}

// The same for all that can fail, in a runtime of each count of workers.
template <class Program>
void fail_everywhere(Program program) {
    for_each_worker_count([program](unsigned workers) {
        for (const resource what : {resource::memory, resource::thread, resource::mapping}) {
            fail_at_each_request(what, [&] { return fiber::run(quiet(workers), program); });
        }
    });
}

}  // namespace fiber::test
