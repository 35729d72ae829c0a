// Work is stolen and sleepers are woken also where the system call that orders this is refused: from the start, or from
// some moment on, while workers run.
#include <array>
#include <cerrno>
#include <cstddef>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scheduler/base/asymmetric_barrier.hpp"
#include "tests/api/fixture.hpp"
#include "tests/support/child_process.hpp"

using namespace fiber::test;
using fiber::engine::asymmetric_barrier;

namespace {

// For every thread of the process, and for good.
bool refuse_membarrier(int error) {
    std::array<sock_filter, 4> program = {{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0;
}

int fib(int n) {
    if (n < 2) return n;
    auto first = fiber::spawn([n] { return fib(n - 1); });
    const int second = fib(n - 2);
    return first.get() + second;
}

// All workers must hold a task at the same time: what one has pushed before it computes, others take. Then all sleep.
bool everybody_is_found(unsigned workers) {
    std::atomic<unsigned> arrived{0};
    const auto hold = [&] {
        ++arrived;
        return spin_until([&] { return arrived == workers; });
    };
    std::vector<fiber::task<bool>> others;
    for (unsigned i = 1; i < workers; ++i) others.push_back(fiber::spawn(hold));
    bool all = hold();
    for (auto& other : others) all = other.get() && all;
    fiber::sleep_for(2ms);
    return all;
}

void work(unsigned workers) {
    for (int round = 0; round < 5; ++round) {
        if (!everybody_is_found(workers) || fib(15) != 610) ::_exit(1);
    }
}

}  // namespace

TEST_CASE("where the kernel has no membarrier everything is found all the same") {
    for (const int error : {ENOSYS, EPERM}) {
        const auto child = fiber_test::run_in_child([error] {
            if (!refuse_membarrier(error)) ::_exit(2);
            for (const unsigned workers : {2u, 4u}) fiber::run({.workers = workers}, [workers] { work(workers); });
            if (asymmetric_barrier::kernel_helps()) ::_exit(3);
        });
        CHECK_MESSAGE(child.succeeded(), "status " << child.status << ", " << child.error_output);
    }
}

TEST_CASE("where a sandbox refuses it from some moment on, too") {
    const auto child = fiber_test::run_in_child([] {
        fiber::run({.workers = 4}, [] {
            work(4);
            if (!refuse_membarrier(EPERM)) ::_exit(2);
            work(4);
        });
        if (asymmetric_barrier::kernel_helps()) ::_exit(3);
    });
    CHECK_MESSAGE(child.succeeded(), "status " << child.status << ", " << child.error_output);
}
