// Makes requests for memory, threads or mappings fail, to see that nothing is lost or leaked when they do.
// The test program replaces operator new, pthread_create and mmap; all three pass their call on unless a failure is
// armed. Thread safety: one injected_failure at a time; the requests that it counts may come from any thread.
#pragma once

namespace fiber::test {

enum class resource { memory, thread, mapping };

// Whether failures of the resource can be injected in this build: ThreadSanitizer keeps operator new to itself.
bool can_fail(resource what) noexcept;

enum class failure_span { one_request, all_from_there };

// While it lives, request number `nth` (from 0) for the resource fails, alone or with all after it.
class injected_failure {
 public:
    injected_failure(resource what, long nth, failure_span span) noexcept;
    ~injected_failure();
    injected_failure(const injected_failure&) = delete;
    injected_failure& operator=(const injected_failure&) = delete;

    // Any thread. Whether a request has failed already.
    bool happened() const noexcept;
};

}  // namespace fiber::test
