// Stacks: sizes, guards of every kind, reuse, trimming, limits, and how many fit.
#include "scheduler/context/stack_arena.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <doctest/doctest.h>
#include <fstream>
#include <set>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <thread>
#include <vector>

#include "scheduler/base/check.hpp"
#include "tests/support/child_process.hpp"

#if FIBER_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace {

using namespace fiber::engine;
using fiber_test::run_in_child;

constexpr bool instrumented = FIBER_ASAN || FIBER_TSAN;

std::size_t mapping_lines() {
    std::ifstream maps("/proc/self/maps");
    std::size_t lines = 0;
    for (std::string line; std::getline(maps, line);) ++lines;
    return lines;
}

// A "Name:   123 kB" line of a file in /proc, in bytes.
std::size_t proc_bytes(const std::string& file, const std::string& name) {
    std::ifstream lines("/proc/" + file);
    for (std::string word; lines >> word;) {
        std::size_t value = 0;
        if (word == name + ":" && lines >> value) return value * 1024;
    }
    return 0;
}

std::size_t status_bytes(const std::string& name) { return proc_bytes("self/status", name); }

// How many pages of the stack have memory.
std::size_t resident_pages(const stack_view& stack) {
    const std::size_t length = (stack.size() + page_size() - 1) / page_size() * page_size();
    std::vector<unsigned char> pages(length / page_size());
    REQUIRE(::mincore(stack.limit, length, pages.data()) == 0);
    std::size_t resident = 0;
    for (const unsigned char each : pages) resident += each & 1;
    return resident;
}

// Damages what lies below a stack, as an overrun does, until it is destroyed.
struct overrun {
    explicit overrun(const stack_view& stack) : at(stack.limit - 1), before(*at) { *at = ~before; }
    ~overrun() { *at = before; }
    overrun(const overrun&) = delete;
    overrun& operator=(const overrun&) = delete;

    std::byte* const at;
    const std::byte before;
};

void touch(std::byte* at) { *const_cast<volatile std::byte*>(at) = std::byte{1}; }

// All that is idle, but for `keep` of each class.
void trim(stack_arena& arena, std::size_t keep) {
    arena.begin_period();
    while (arena.trim_unused(keep)) {
    }
}

// Hands every stack back when a test ends, also by a failure.
struct loan {
    stack_arena& arena;
    stack_class which;
    std::vector<stack_view> stacks{};

    loan(stack_arena& a, stack_class c) : arena(a), which(c) {}
    ~loan() { release_all(); }
    loan(const loan&) = delete;
    loan& operator=(const loan&) = delete;

    stack_view take() { return stacks.emplace_back(arena.acquire(which)); }
    void release_all() {
        for (const stack_view& each : stacks) arena.release(each, which);
        stacks.clear();
    }
};

}  // namespace

TEST_CASE("stack classes: powers of two from 16 KiB to 64 MiB") {
    CHECK(promised_size(0) == 16 * 1024);
    CHECK(maximum_stack_size == 64 * 1024 * 1024);
    CHECK(promised_size(default_stack_class) == 256 * 1024);
    CHECK(class_for(0) == stack_class{0});
    CHECK(class_for(16 * 1024) == stack_class{0});
    CHECK(class_for(16 * 1024 + 1) == stack_class{1});
    CHECK(class_for(maximum_stack_size) == stack_class{stack_class_count - 1});
    CHECK(!class_for(maximum_stack_size + 1).has_value());
}

TEST_CASE("stack arena: every class keeps its promise") {
    stack_arena arena;
    for (stack_class c = 0; c < stack_class_count; ++c) {
        loan some(arena, c);
        for (int i = 0; i < 20; ++i) {
            const stack_view stack = some.take();
            CHECK(stack.size() >= promised_size(c));
            CHECK(reinterpret_cast<std::uintptr_t>(stack.base) % 16 == 0);
            CHECK(reinterpret_cast<std::uintptr_t>(stack.limit) % page_size() == 0);
            touch(stack.base - 1);
            touch(stack.limit);
        }
    }
    CHECK(arena.statistics().in_use == 0);
}

TEST_CASE("stack arena: stacks do not overlap, and neighbours begin at different cache sets") {
    stack_arena arena;
    loan some(arena, 0);
    std::set<std::uintptr_t> ends, offsets;
    for (int i = 0; i < 200; ++i) {
        const stack_view stack = some.take();
        std::memset(stack.limit, i, stack.size());
        offsets.insert(reinterpret_cast<std::uintptr_t>(stack.base) % page_size());
    }
    for (int i = 0; i < 200; ++i) {
        const stack_view& stack = some.stacks[static_cast<std::size_t>(i)];
        CHECK(*stack.limit == static_cast<std::byte>(i));
        CHECK(*(stack.base - 1) == static_cast<std::byte>(i));
    }
    CHECK(offsets.size() > 4);
}

TEST_CASE("stack arena: the last one released is the next one acquired") {
    stack_arena arena;
    loan some(arena, 1);
    for (int i = 0; i < 40; ++i) some.take();
    const auto all = some.stacks;
    const stack_statistics before = arena.statistics();
    CHECK(before.in_use == 40);
    CHECK(before.idle == 0);
    some.release_all();
    CHECK(arena.statistics().idle == 40);
    for (std::size_t i = all.size(); i-- > 0;) {
        const stack_view again = some.take();
        CHECK(again.base == all[i].base);
        CHECK(again.limit == all[i].limit);
    }
    CHECK(arena.statistics().mapped_bytes == before.mapped_bytes);
}

TEST_CASE("stack arena: a small program reserves little") {
    stack_arena arena;
    CHECK(arena.statistics().mapped_bytes == 0);
    loan one(arena, default_stack_class);
    one.take();
    CHECK(arena.statistics().mapped_bytes <= std::size_t{16} << 20);
}

TEST_CASE("stack arena: a write below the limit faults") {
    for (const stack_guard guard : {stack_guard::lightweight, stack_guard::protection}) {
        if (guard == stack_guard::lightweight && !lightweight_guards_supported()) {
            MESSAGE("this kernel has no lightweight guards");
            continue;
        }
        stack_arena arena(guard);
        loan some(arena, 0);
        // More than one batch of guards, and more than one slab.
        for (int i = 0; i < 100; ++i) some.take();
        CHECK(arena.statistics().unguarded == 0);
        for (const std::size_t i : {0u, 15u, 16u, 70u, 99u}) {
            const stack_view stack = some.stacks[i];
            CHECK(run_in_child([&] { touch(stack.limit); }).succeeded());
            CHECK(run_in_child([&] { touch(stack.limit - 1); }).killed_by(SIGSEGV));
            CHECK(run_in_child([&] { touch(stack.limit - page_size()); }).killed_by(SIGSEGV));
            CHECK(arena.canary_intact(stack, 0));
        }
    }
}

TEST_CASE("stack arena: guards outlive trimming and reuse") {
    stack_arena arena;
    loan some(arena, 0);
    for (int i = 0; i < 10; ++i) touch(some.take().base - 1);
    some.release_all();
    trim(arena, 0);
    const stack_view again = some.take();
    touch(again.limit);
    CHECK(run_in_child([&] { touch(again.limit - 1); }).killed_by(SIGSEGV));
}

TEST_CASE("stack arena: a canary tells that a stack without guard was overrun") {
    stack_arena arena(stack_guard::canary);
    loan some(arena, 0);
    for (int i = 0; i < 20; ++i) some.take();
    CHECK(arena.statistics().unguarded == 20);
    const stack_view stack = some.stacks[7];
    std::memset(stack.limit, 0, stack.size());
    CHECK(arena.canary_intact(stack, 0));
    CHECK(arena.canary_intact(some.stacks[6], 0));

    SUBCASE("overrun") {
        const overrun damage(stack);
        CHECK(!arena.canary_intact(stack, 0));
        CHECK(arena.canary_intact(some.stacks[6], 0));
        CHECK(arena.canary_intact(some.stacks[8], 0));
        const auto result = run_in_child([&] { arena.release(stack, 0); });
        CHECK(result.killed_by(SIGABRT));
        CHECK(result.error_output.find("stack of 16 KiB") != std::string::npos);
    }
    SUBCASE("trimmed and reused") {
        some.release_all();
        trim(arena, 0);
        CHECK(arena.canary_intact(some.take(), 0));
        CHECK(arena.statistics().unguarded == 20);
    }
}

TEST_CASE("stack arena: guards by protection stop short of the limit on mappings") {
    // Three quarters of vm.max_map_count, two mappings for a stack: the default of 65,530 guards about 24,000.
    std::ifstream file("/proc/sys/vm/max_map_count");
    std::size_t maximum = 0;
    if (instrumented || !(file >> maximum) || maximum > 100'000) return;
    stack_arena arena(stack_guard::protection);
    {
        loan many(arena, 0);
        for (std::size_t i = 0; i < maximum / 2; ++i) many.take();
        const std::size_t unguarded = arena.statistics().unguarded;
        CHECK(unguarded > 0);
        CHECK(unguarded < maximum / 4);
        CHECK(mapping_lines() < maximum - maximum / 8);
        CHECK(run_in_child([&] { touch(many.stacks.front().limit - 1); }).killed_by(SIGSEGV));
        const stack_view last = many.stacks.back();
        CHECK(arena.canary_intact(last, 0));
        const overrun damage(last);
        CHECK(!arena.canary_intact(last, 0));
    }
}

TEST_CASE("stack arena: trimming gives back all but the most recently released") {
    stack_arena arena;
    loan some(arena, default_stack_class);
    for (int i = 0; i < 3000; ++i) {
        const stack_view stack = some.take();
        touch(stack.base - 1);
        touch(stack.limit);
    }
    const auto all = some.stacks;
    some.release_all();
    trim(arena, 5);
    CHECK(arena.statistics().idle == 3000);
    for (std::size_t i = 0; i < all.size(); ++i) {
        REQUIRE(resident_pages(all[i]) == (i + 5 >= all.size() ? 2u : 0u));
    }
    // Warm ones first, then cold ones, before anything new is mapped.
    const std::size_t mapped = arena.statistics().mapped_bytes;
    CHECK(some.take().base == all.back().base);
    for (int i = 1; i < 3000; ++i) touch(some.take().base - 1);
    CHECK(arena.statistics().mapped_bytes == mapped);
    CHECK(arena.statistics().idle == 0);
}

TEST_CASE("stack arena: what nobody needed for a whole period is given back, a batch at a time") {
    stack_arena arena;
    loan some(arena, default_stack_class);
    for (int i = 0; i < 1000; ++i) touch(some.take().base - 1);
    const auto all = some.stacks;
    CHECK_FALSE(arena.has_spare(0));
    some.release_all();
    CHECK(arena.has_spare(999));
    CHECK_FALSE(arena.has_spare(1000));
    CHECK_FALSE(arena.trim_unused(5));  // they were in use when the period began
    arena.begin_period();
    for (int i = 0; i < 300; ++i) some.take();
    some.release_all();
    for (int calls = 1; arena.trim_unused(5); ++calls) REQUIRE(calls <= 3);
    for (std::size_t i = 0; i < all.size(); ++i) {
        REQUIRE(resident_pages(all[i]) == (i + 305 >= all.size() ? 1u : 0u));
    }
    arena.begin_period();
    while (arena.trim_unused(5)) {
    }
    CHECK_FALSE(arena.has_spare(5));
    CHECK(arena.statistics().idle == 1000);
}

TEST_CASE("stack arena: a limit that was hit is named, and nothing is lost") {
    if (instrumented) return;  // a sanitizer's own address space is beyond any such limit
    const auto result = run_in_child([] {
        stack_arena arena;
        loan some(arena, default_stack_class);
        touch(some.take().base - 1);
        const rlimit limit{status_bytes("VmSize") + (std::size_t{64} << 20), RLIM_INFINITY};
        ::setrlimit(RLIMIT_AS, &limit);
        try {
            for (int i = 0; i < 1000; ++i) some.take();
            ::_exit(1);
        } catch (const stack_exhausted& e) {
            if (e.why() != acquire_verdict::address_space) ::_exit(2);
            if (std::strstr(e.what(), "RLIMIT_AS") == nullptr || std::strstr(e.what(), "256 KiB") == nullptr)
                ::_exit(3);
        }
        // Nearly all of what was left could be used, and what was acquired still can.
        if (some.stacks.size() < 150) ::_exit(4);
        for (const stack_view& each : some.stacks) touch(each.base - 1);
        const stack_view last = some.stacks.back();
        some.stacks.pop_back();
        arena.release(last, default_stack_class);
        if (some.take().base != last.base) ::_exit(5);
        stack_view none;
        if (arena.try_acquire(default_stack_class, none) != acquire_verdict::address_space) ::_exit(6);
        if (none.base != nullptr || arena.statistics().in_use != some.stacks.size()) ::_exit(7);
    });
    CHECK(WEXITSTATUS(result.status) == 0);
    CHECK(result.succeeded());
}

TEST_CASE("stack arena: the texts of all limits differ") {
    std::set<std::string> texts;
    for (const acquire_verdict each :
         {acquire_verdict::acquired, acquire_verdict::address_space, acquire_verdict::map_count,
          acquire_verdict::overcommit, acquire_verdict::memory}) {
        texts.insert(explain(each));
    }
    CHECK(texts.size() == 5);
    const stack_exhausted error(acquire_verdict::map_count, stack_class_count - 1);
    CHECK(std::string(error.what()).find("65536 KiB") != std::string::npos);
    CHECK(std::string(error.what()).find("vm.max_map_count)") != std::string::npos);
}

TEST_CASE("stack arena: several threads at once") {
    stack_arena arena;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&arena, t] {
            std::vector<stack_view> held;
            for (int round = 0; round < 200; ++round) {
                for (int i = 0; i < 10; ++i) {
                    held.push_back(arena.acquire(static_cast<stack_class>(t % 2)));
                    *(held.back().base - 1) = static_cast<std::byte>(t);
                }
                for (const stack_view& each : held) {
                    if (*(each.base - 1) != static_cast<std::byte>(t)) std::abort();
                }
                while (held.size() > static_cast<std::size_t>(round % 7)) {
                    arena.release(held.back(), static_cast<stack_class>(t % 2));
                    held.pop_back();
                }
                if (round % 50 == 0) trim(arena, 3);
            }
            for (const stack_view& each : held) arena.release(each, static_cast<stack_class>(t % 2));
        });
    }
    for (std::thread& each : threads) each.join();
    CHECK(arena.statistics().in_use == 0);
    CHECK(arena.statistics().idle > 0);
}

#if FIBER_ASAN
TEST_CASE("stack arena: a released stack is not poisoned for the next one") {
    stack_arena arena;
    const stack_view stack = arena.acquire(0);
    __asan_poison_memory_region(stack.limit, 4096);
    arena.release(stack, 0);
    CHECK(__asan_region_is_poisoned(stack.limit, stack.size()) == nullptr);
}
#endif

TEST_CASE("stack arena: many guarded stacks stay a few mappings") {
    const int count = instrumented ? 5'000 : 100'000;
    const std::size_t before = mapping_lines();
    stack_arena arena;
    loan many(arena, default_stack_class);
    many.stacks.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) many.take();
    if (lightweight_guards_supported()) {
        CHECK(arena.statistics().unguarded == 0);
        CHECK(mapping_lines() < before + 150);
        CHECK(run_in_child([&] { touch(many.stacks[4321].limit - 1); }).killed_by(SIGSEGV));
    }
    many.release_all();
}

TEST_CASE("stack arena: memory of a touched stack, guard and page tables included") {
    if (instrumented) return;
    constexpr std::size_t count = 20'000;
    std::vector<stack_view> stacks;
    stacks.reserve(count);
    stack_arena arena;
    const std::size_t resident = status_bytes("VmRSS"), tables = status_bytes("VmPTE");
    for (std::size_t i = 0; i < count; ++i) {
        stacks.push_back(arena.acquire(default_stack_class));
        touch(stacks.back().base - 1);
    }
    const std::size_t memory = (status_bytes("VmRSS") - resident) / count,
                      table = (status_bytes("VmPTE") - tables) / count;
    MESSAGE("bytes per touched stack: ", memory, " + page tables ", table);
    if (page_size() == 4096 && lightweight_guards_supported()) CHECK(memory + table < 5'120);
    for (const stack_view& each : stacks) arena.release(each, default_stack_class);
}

// About a second and 650 MB of page tables.
TEST_CASE("stack arena: a million guarded stacks") {
    if (instrumented || !lightweight_guards_supported() || proc_bytes("meminfo", "MemAvailable") >> 30 < 4) return;
    stack_arena arena;
    loan many(arena, default_stack_class);
    many.stacks.reserve(1'000'000);
    for (int i = 0; i < 1'000'000; ++i) many.take();
    CHECK(arena.statistics().unguarded == 0);
    CHECK(mapping_lines() < 200);
    MESSAGE("mappings: ", mapping_lines(), ", page tables: ", status_bytes("VmPTE") >> 20, " MiB");
}
