// The system calls behind stack_memory.hpp, with what to do on kernels that lack one.
#include "scheduler/context/stack_memory.hpp"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scheduler/base/check.hpp"

namespace fiber::engine {

namespace {

// Newer than the headers of the systems we build on.
constexpr int guard_install_advice = 102;  // MADV_GUARD_INSTALL

// A whole small file of /proc as text; empty when unreadable. No allocation: this runs when memory has run out.
struct small_file {
    explicit small_file(const char* path) noexcept {
        const int file = ::open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) return;
        const ssize_t length = ::read(file, text, sizeof text - 1);
        ::close(file);
        text[length > 0 ? length : 0] = '\0';
    }

    char text[128] = {};
};

std::size_t number_in(const char* path, std::size_t otherwise) noexcept {
    const small_file file(path);
    char* end = nullptr;
    const unsigned long long value = std::strtoull(file.text, &end, 10);
    return end != file.text ? static_cast<std::size_t>(value) : otherwise;
}

std::size_t maximum_mappings() noexcept { return number_in("/proc/sys/vm/max_map_count", 65'530); }

std::size_t count_mappings() noexcept {
    const int file = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    std::size_t lines = 0;
    char buffer[4096];
    for (ssize_t length = 0; (length = ::read(file, buffer, sizeof buffer)) > 0;) {
        for (ssize_t i = 0; i < length; ++i) lines += buffer[i] == '\n';
    }
    ::close(file);
    return lines;
}

// One advice on many ranges. process_madvise() on oneself (any advice, from Linux 6.13 on) takes them in one call:
// guards get about 1.5 times, giving back 3 times as cheap. Returns how many ranges, from the first on, were advised.
std::size_t advise(const iovec* ranges, std::size_t count, int advice) noexcept {
    std::size_t done = 0;
    // Opened for each batch rather than kept: after a fork a kept one would name the parent.
    const int self = count > 1 ? static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)) : -1;
    if (self >= 0) {
        long advised = ::syscall(SYS_process_madvise, self, ranges, count, advice, 0);
        ::close(self);
        // Bytes, possibly fewer than asked for; a range that was advised in part is advised again below.
        while (done < count && advised >= static_cast<long>(ranges[done].iov_len)) {
            advised -= static_cast<long>(ranges[done].iov_len);
            ++done;
        }
    }
    while (done < count && ::madvise(ranges[done].iov_base, ranges[done].iov_len, advice) == 0) ++done;
    return done;
}

}  // namespace

const char* explain(acquire_verdict verdict) noexcept {
    switch (verdict) {
        case acquire_verdict::acquired:
            return "no limit was hit";
        case acquire_verdict::address_space:
            return "the limit on address space was hit (RLIMIT_AS, ulimit -v)";
        case acquire_verdict::map_count:
            return "the limit on the number of mappings was hit (sysctl vm.max_map_count)";
        case acquire_verdict::overcommit:
            return "the limit on committed memory was hit (sysctl vm.overcommit_memory is 2: see CommitLimit)";
        case acquire_verdict::memory:
            break;
    }
    return "the system has no memory or address space left (ENOMEM)";
}

acquire_verdict limit_hit_by(std::size_t bytes) noexcept {
    rlimit space{};
    if (::getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
        const std::size_t used = number_in("/proc/self/statm", 0) * page_size();
        if (used + bytes > space.rlim_cur) return acquire_verdict::address_space;
    }
    if (count_mappings() + 2 > maximum_mappings()) return acquire_verdict::map_count;
    if (number_in("/proc/sys/vm/overcommit_memory", 0) == 2) return acquire_verdict::overcommit;
    return acquire_verdict::memory;
}

std::size_t page_size() noexcept {
    static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return size;
}

std::byte* map_stack_memory(std::size_t bytes, acquire_verdict& verdict) noexcept {
    void* first =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (first == MAP_FAILED) {
        verdict = limit_hit_by(bytes);
        return nullptr;
    }
    // A huge page would commit 2 MiB for each of a few touched stacks. Refused only by kernels without huge pages.
    (void)::madvise(first, bytes, MADV_NOHUGEPAGE);
    return static_cast<std::byte*>(first);
}

void unmap_stack_memory(std::byte* first, std::size_t bytes) noexcept {
    [[maybe_unused]] const int result = ::munmap(first, bytes);
    FIBER_ASSERT(result == 0);
}

bool lightweight_guards_supported() noexcept {
    static const bool supported = [] {
        void* page = ::mmap(nullptr, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) return false;
        const bool installed = ::madvise(page, page_size(), guard_install_advice) == 0;
        ::munmap(page, page_size());
        return installed;
    }();
    return supported;
}

std::size_t install_lightweight_guards(const iovec* ranges, std::size_t count) noexcept {
    return advise(ranges, count, guard_install_advice);
}

bool protect_page(std::byte* page) noexcept { return ::mprotect(page, page_size(), PROT_NONE) == 0; }

bool mappings_to_spare(std::size_t more) noexcept {
    const std::size_t maximum = maximum_mappings();
    return count_mappings() + more <= maximum - maximum / 4;
}

void give_back(const iovec* ranges, std::size_t count) noexcept {
    // A range that is refused (locked memory) keeps its memory; the next ones are still tried.
    for (std::size_t done = 0; done < count; ++done) done += advise(ranges + done, count - done, MADV_DONTNEED);
}

}  // namespace fiber::engine
