// The switch: arguments, registers, exception globals, floating-point state, and all of it across threads.
#include "scheduler/context/context.hpp"

#include <array>
#include <cfenv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <doctest/doctest.h>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if FIBER_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace {

using fiber::engine::context;
using fiber::engine::stack_view;
using fiber::engine::switch_to;
using fiber::engine::thread_exception_globals;

struct heap_stack {
    static constexpr std::size_t size = std::size_t{128} * 1024;

    heap_stack() : memory(static_cast<std::byte*>(std::aligned_alloc(64, size))) {}
    ~heap_stack() { std::free(memory); }
    heap_stack(const heap_stack&) = delete;
    heap_stack& operator=(const heap_stack&) = delete;

    stack_view view() const { return {memory, memory + size}; }

    std::byte* memory;
};

// One execution, resumed and left by hand. Any thread may resume it, one at a time.
class execution {
 public:
    explicit execution(std::function<void(execution&)> body) : body_(std::move(body)) {
        inner_.make(stack_.view(), &run);
    }
    ~execution() { inner_.discard(); }
    execution(const execution&) = delete;
    execution& operator=(const execution&) = delete;

    // From outside: runs the body up to its next leave(), whose argument is returned. The first argument is not seen.
    void* resume(void* argument = nullptr) {
        context here;
        outer_ = &here;
        void* first_or_next = std::exchange(started_, true) ? argument : this;
        return switch_to(here, inner_, first_or_next, *thread_exception_globals());
    }

    // From inside. The thread's globals are asked for anew each time: the next resume() may come from another thread.
    void* leave(void* argument = nullptr) { return switch_to(inner_, *outer_, argument, *thread_exception_globals()); }

    bool finished() const { return finished_; }

    // Gives up the suspended body and begins it anew on the same stack.
    void restart() {
        inner_.discard();
        started_ = finished_ = false;
        inner_.make(stack_.view(), &run);
    }

 private:
    static void run(void* self) noexcept {
        auto& me = *static_cast<execution*>(self);
        me.body_(me);
        me.finished_ = true;
        for (;;) me.leave();
    }

    heap_stack stack_;
    std::function<void(execution&)> body_;
    context inner_;
    context* outer_ = nullptr;
    bool started_ = false;
    bool finished_ = false;
};

template <class F>
void on_another_thread(F&& f) {
    std::thread(std::forward<F>(f)).join();
}

std::string caught_now() {
    try {
        throw;
    } catch (const std::exception& e) {
        return e.what();
    }
}

}  // namespace

TEST_CASE("context: stays small") {
#if !FIBER_ASAN && !FIBER_TSAN
    CHECK(sizeof(context) <= 32);
#endif
}

TEST_CASE("context: arguments travel both ways, and locals survive") {
    std::uint64_t sum = 0;
    execution adder([&](execution& self) {
        std::array<std::uint64_t, 64> seen{};
        void* in = self.leave();
        for (std::size_t i = 0; in != nullptr; ++i) {
            seen[i % seen.size()] += *static_cast<std::uint64_t*>(in);
            in = self.leave(&seen[i % seen.size()]);
        }
        for (const std::uint64_t each : seen) sum += each;
    });
    adder.resume();
    std::array<std::uint64_t, 64> mirror{};
    std::uint64_t expected = 0;
    for (std::uint64_t i = 1; i <= 1000; ++i) {
        expected += i;
        std::uint64_t& same = mirror[(i - 1) % mirror.size()];
        same += i;
        REQUIRE(*static_cast<std::uint64_t*>(adder.resume(&i)) == same);
    }
    CHECK(adder.resume(nullptr) == nullptr);
    CHECK(adder.finished());
    CHECK(sum == expected);
}

TEST_CASE("context: executions switch directly to each other") {
    struct pair {
        context left, right, home;
        std::string trace;
    };
    pair both;
    heap_stack left_stack, right_stack;
    both.left.make(left_stack.view(), [](void* argument) noexcept {
        pair& p = *static_cast<pair*>(argument);
        for (;;) {
            p.trace += 'l';
            switch_to(p.left, p.right, &p, *thread_exception_globals());
        }
    });
    both.right.make(right_stack.view(), [](void* argument) noexcept {
        pair& p = *static_cast<pair*>(argument);
        for (int i = 0;; ++i) {
            p.trace += 'r';
            switch_to(p.right, i % 3 == 2 ? p.home : p.left, &p, *thread_exception_globals());
        }
    });
    CHECK(switch_to(both.home, both.left, &both, *thread_exception_globals()) == &both);
    CHECK(both.trace == "lrlrlr");
    // Saved in `home` again, and resumed by the other one of the two.
    CHECK(switch_to(both.home, both.right, &both, *thread_exception_globals()) == &both);
    CHECK(both.trace == "lrlrlrrlrlr");
    both.left.discard();
    both.right.discard();
}

TEST_CASE("context: a discarded execution leaves a stack that can be used again") {
    int begun = 0;
    execution repeated([&](execution& self) {
        ++begun;
        volatile char frame[4096];
        for (auto& each : frame) each = 1;
        self.leave();
        FAIL("resumed after it was given up");
    });
    for (int i = 0; i < 20; ++i) {
        repeated.resume();
        repeated.restart();
    }
    CHECK(begun == 20);
}

TEST_CASE("context: an execution moves between threads") {
    std::vector<std::thread::id> seen;
    execution nomad([&](execution& self) {
        for (;;) {
            seen.push_back(std::this_thread::get_id());
            self.leave();
        }
    });
    nomad.resume();
    for (int i = 0; i < 3; ++i) on_another_thread([&] { nomad.resume(); });
    nomad.resume();
    REQUIRE(seen.size() == 5);
    CHECK(seen.front() == seen.back());
}

TEST_CASE("exceptions: each execution has its own caught exception") {
    const auto body = [](const char* text) {
        return [text](execution& self) {
            try {
                throw std::runtime_error(text);
            } catch (...) {
                self.leave();
                CHECK(caught_now() == text);
                self.leave();
            }
            CHECK(std::current_exception() == nullptr);
        };
    };
    execution first(body("first")), second(body("second"));
    try {
        throw std::runtime_error("outside");
    } catch (...) {
        first.resume();
        second.resume();
        CHECK(caught_now() == "outside");
        // Not the order of a stack: the catch blocks end interleaved.
        first.resume();
        second.resume();
        first.resume();
        second.resume();
        CHECK(caught_now() == "outside");
    }
    CHECK(first.finished());
    CHECK(second.finished());
    CHECK(std::current_exception() == nullptr);
}

TEST_CASE("exceptions: a fresh execution begins without any") {
    execution fresh([](execution&) {
        CHECK(std::current_exception() == nullptr);
        CHECK(std::uncaught_exceptions() == 0);
    });
    try {
        throw 1;
    } catch (int) {
        fresh.resume();
    }
    CHECK(fresh.finished());
}

TEST_CASE("exceptions: caught here, rethrown on another thread") {
    std::string outer;
    execution nomad([&](execution& self) {
        try {
            try {
                throw std::runtime_error("from home");
            } catch (...) {
                self.leave();
                throw;
            }
        } catch (const std::exception& e) {
            outer = e.what();
            self.leave();
        }
    });
    nomad.resume();
    // This thread's and the other thread's own exceptions come and go meanwhile.
    on_another_thread([&] {
        try {
            throw std::logic_error("the other thread's");
        } catch (...) {
            nomad.resume();
            CHECK(caught_now() == "the other thread's");
        }
        CHECK(std::current_exception() == nullptr);
    });
    CHECK(std::current_exception() == nullptr);
    CHECK(outer == "from home");
    nomad.resume();
    CHECK(nomad.finished());
    CHECK(std::current_exception() == nullptr);
}

TEST_CASE("exceptions: left and resumed elsewhere in a destructor while unwinding") {
    struct waits_when_destroyed {
        execution& self;
        std::vector<int>& counts;
        ~waits_when_destroyed() {
            counts.push_back(std::uncaught_exceptions());
            self.leave();
            counts.push_back(std::uncaught_exceptions());
            try {
                throw 1;
            } catch (int) {
                self.leave();
            }
            counts.push_back(std::uncaught_exceptions());
        }
    };
    std::vector<int> counts;
    std::string caught;
    execution nomad([&](execution& self) {
        try {
            waits_when_destroyed guard{self, counts};
            throw std::runtime_error("unwinding");
        } catch (const std::exception& e) {
            caught = e.what();
        }
        counts.push_back(std::uncaught_exceptions());
    });
    nomad.resume();
    CHECK(std::uncaught_exceptions() == 0);
    on_another_thread([&] {
        nomad.resume();
        CHECK(std::uncaught_exceptions() == 0);
    });
    CHECK(std::uncaught_exceptions() == 0);
    on_another_thread([&] { nomad.resume(); });
    CHECK(nomad.finished());
    CHECK(caught == "unwinding");
    CHECK(counts == std::vector<int>{1, 1, 1, 0});
}

#if defined(__x86_64__)
TEST_CASE("floating point: the rounding mode belongs to the execution") {
    execution upward([](execution& self) {
        std::fesetround(FE_UPWARD);
        for (;;) {
            self.leave();
            CHECK(std::fegetround() == FE_UPWARD);
        }
    });
    for (int i = 0; i < 3; ++i) {
        upward.resume();
        CHECK(std::fegetround() == FE_TONEAREST);
    }
    on_another_thread([&] {
        upward.resume();
        CHECK(std::fegetround() == FE_TONEAREST);
    });
}

// This is what keeps a switch cheap: the flags now set are loaded again, so the load changes none of them.
TEST_CASE("floating point: raised flags are carried over, none is lost") {
    const auto divide = [](double by) {
        volatile double one = 1.0, divisor = by;
        volatile double result = one / divisor;
        (void)result;
    };
    std::feclearexcept(FE_ALL_EXCEPT);
    execution divider([&](execution& self) {
        self.leave();
        divide(3.0);
        self.leave();
        std::feclearexcept(FE_ALL_EXCEPT);
        self.leave();
        CHECK(std::fetestexcept(FE_DIVBYZERO) != 0);
        self.leave();
        CHECK(std::fetestexcept(FE_INEXACT) != 0);
    });
    divider.resume();
    CHECK(std::fetestexcept(FE_ALL_EXCEPT) == 0);
    divider.resume();
    CHECK(std::fetestexcept(FE_INEXACT) != 0);  // fails if the frame was not recognised
    divider.resume();
    CHECK(std::fetestexcept(FE_INEXACT) != 0);  // cleared there, but raised here
    divide(0.0);
    divider.resume();
    std::feclearexcept(FE_ALL_EXCEPT);
    divider.resume();
    CHECK(divider.finished());
    std::feclearexcept(FE_ALL_EXCEPT);
}
#endif

#if FIBER_ASAN
TEST_CASE("sanitizer: what a given-up execution poisoned is clean afterwards") {
    heap_stack stack;
    context gone;
    gone.make(stack.view(), [](void*) noexcept { std::abort(); });
    __asan_poison_memory_region(stack.memory + 1024, 64);
    gone.discard();
    CHECK(__asan_region_is_poisoned(stack.memory, heap_stack::size) == nullptr);
}
#endif
