// See fault_injection.hpp. Memory fails in operator new with bad_alloc, as it would; threads with EAGAIN; mappings with
// ENOMEM.
#include "tests/api/fault_injection.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <dlfcn.h>
#include <new>
#include <pthread.h>
#include <sys/mman.h>

#include "scheduler/base/check.hpp"

namespace fiber::test {
namespace {

constexpr int unarmed = -1;
std::atomic<int> armed_resource{unarmed};
std::atomic<bool> all_from_there{false};
std::atomic<long> requests_left{0};
std::atomic<bool> has_happened{false};

// Any thread. Whether the request that is being made is to fail.
bool fails(resource what) noexcept {
    if (armed_resource.load() != static_cast<int>(what)) return false;
    const long left = requests_left.fetch_sub(1);
    if (left > 0 || (left < 0 && !all_from_there.load())) return false;
    has_happened.store(true);
    return true;
}

[[maybe_unused]] void* allocate(std::size_t size, std::size_t alignment) noexcept {
    if (fails(resource::memory)) return nullptr;
    if (size == 0) size = 1;
    if (alignment <= alignof(std::max_align_t)) return std::malloc(size);
    return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

[[maybe_unused]] void* allocate_or_throw(std::size_t size, std::size_t alignment) {
    void* const block = allocate(size, alignment);
    if (!block) throw std::bad_alloc();
    return block;
}

}  // namespace

bool can_fail(resource what) noexcept { return what != resource::memory || !FIBER_TSAN; }

injected_failure::injected_failure(resource what, long nth, failure_span span) noexcept {
    has_happened.store(false);
    all_from_there.store(span == failure_span::all_from_there);
    requests_left.store(nth);
    armed_resource.store(static_cast<int>(what));
}

injected_failure::~injected_failure() { armed_resource.store(unarmed); }

bool injected_failure::happened() const noexcept { return has_happened.load(); }

}  // namespace fiber::test

#if !FIBER_TSAN
using fiber::test::allocate;
using fiber::test::allocate_or_throw;

void* operator new(std::size_t size) { return allocate_or_throw(size, 1); }
void* operator new[](std::size_t size) { return allocate_or_throw(size, 1); }
void* operator new(std::size_t size, std::align_val_t align) { return allocate_or_throw(size, std::size_t(align)); }
void* operator new[](std::size_t size, std::align_val_t align) { return allocate_or_throw(size, std::size_t(align)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t align, const std::nothrow_t&) noexcept {
    return allocate(size, std::size_t(align));
}
void* operator new[](std::size_t size, std::align_val_t align, const std::nothrow_t&) noexcept {
    return allocate(size, std::size_t(align));
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete[](void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete[](void* block, std::size_t) noexcept { std::free(block); }
void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete[](void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { std::free(block); }
void operator delete[](void* block, const std::nothrow_t&) noexcept { std::free(block); }

#endif

// The sanitizers that are linked statically call their own functions so; elsewhere these are null, and the next
// library's is it.
extern "C" {
int __interceptor_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) __attribute__((weak));
void* __interceptor_mmap(void*, size_t, int, int, int, off_t) __attribute__((weak));

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
    if (fiber::test::fails(fiber::test::resource::thread)) return EAGAIN;
    static const auto next = __interceptor_pthread_create
                                 ? __interceptor_pthread_create
                                 : reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
    return next(thread, attributes, start, argument);
}

void* mmap(void* address, size_t length, int protection, int flags, int file, off_t offset) noexcept {
    if (fiber::test::fails(fiber::test::resource::mapping)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    static const auto next =
        __interceptor_mmap ? __interceptor_mmap : reinterpret_cast<decltype(&mmap)>(dlsym(RTLD_NEXT, "mmap"));
    return next(address, length, protection, flags, file, offset);
}
}
