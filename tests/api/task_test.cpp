// task<T>: callable, arguments and result; waiting, exceptions, names, stacks.
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

static_assert(!std::is_copy_constructible_v<fiber::task<int>>);
static_assert(std::is_nothrow_move_constructible_v<fiber::task<int>>);
static_assert(std::is_same_v<decltype(fiber::spawn([] { return 1; })), fiber::task<int>>);
static_assert(std::is_same_v<decltype(fiber::spawn([] {})), fiber::task<void>>);

TEST_CASE("a task gives its value, void or move-only too") {
    on_each_worker_count([] {
        CHECK(fiber::spawn([] { return 1; }).get() == 1);
        CHECK(*fiber::spawn([] { return std::make_unique<int>(2); }).get() == 2);
        bool ran = false;
        fiber::spawn([&] { ran = true; }).get();
        CHECK(ran);
        const std::string long_text(1000, 'a');
        CHECK(fiber::spawn([&] { return long_text; }).get() == long_text);
    });
}

TEST_CASE("a task gives its exception") {
    on_each_worker_count([] {
        auto parked = fiber::spawn([]() -> int {
            fiber::yield();
            throw std::out_of_range("too far");
        });
        CHECK_THROWS_WITH_AS(parked.get(), "too far", std::out_of_range);
        auto at_once = fiber::spawn([] { throw tracked(4); });
        CHECK_THROWS_AS(at_once.get(), tracked);
    });
}

TEST_CASE("arguments are copied or moved into the task, as std::thread does") {
    on_each_worker_count([] {
        int by_reference = 1;
        fiber::spawn([](int& target) { target = 2; }, std::ref(by_reference)).get();
        CHECK(by_reference == 2);

        std::string text = "before";
        auto copy = fiber::spawn(
            [](const std::string& kept) {
                fiber::yield();
                return kept;
            },
            text);
        text = "after";
        CHECK(copy.get() == "before");

        auto owner = std::make_unique<int>(3);
        CHECK(fiber::spawn([](std::unique_ptr<int> given) { return *given; }, std::move(owner)).get() == 3);
        CHECK_FALSE(owner);

        struct adder {
            int base;
            int add(int more) const { return base + more; }
        };
        CHECK(fiber::spawn(&adder::add, adder{4}, 5).get() == 9);
        CHECK(fiber::spawn(
                  {.name = "named"}, [](int a, int b) { return a * b; }, 6, 7)
                  .get() == 42);
    });
}

TEST_CASE("callable, arguments and result are destroyed exactly once") {
    on_each_worker_count([] {
        const long before = tracked::live();
        const long copies = tracked::copies();
        {
            auto task = fiber::spawn(
                [held = tracked(1)](tracked given) { return tracked(held.value() + given.value()); }, tracked(2));
            CHECK(task.get().value() == 3);
        }
        CHECK(tracked::live() == before);
        CHECK(tracked::copies() == copies);
        {
            auto never_asked = fiber::spawn([] { return tracked(5); });
            never_asked.wait();
        }
        CHECK(tracked::live() == before);
    });
}

// Whoever claims a task from the middle of a long queue leaves its entry there. The result used to go with that entry:
// later, on any worker, when what it points to may have gone.
TEST_CASE("the result is destroyed with the handle, also where the queue still knows the task") {
    struct copied_only {  // so get() leaves one behind
        std::shared_ptr<int> held;
        explicit copied_only(int value) : held(std::make_shared<int>(value)) {}
        copied_only(const copied_only&) = default;
    };
    on_each_worker_count([] {
        std::weak_ptr<int> result;
        std::vector<fiber::task<copied_only>> many;
        for (int i = 0; i < 100; ++i) {
            many.push_back(fiber::spawn([i, &result] {
                copied_only made(i);
                if (i == 50) result = made.held;
                return made;
            }));
        }
        {
            auto middle = std::move(many[50]);
            CHECK(*middle.get().held == 50);
            CHECK_FALSE(result.expired());
        }
        CHECK(result.expired());
    });
}

TEST_CASE("the callable of a finished task is destroyed no later than the task is seen as done") {
    on_each_worker_count([] {
        const long before = tracked::live();
        auto task = fiber::spawn([held = tracked(1)] { fiber::yield(); });
        task.wait();
        CHECK(task.done());
        CHECK(tracked::live() == before);
        task.get();
    });
}

TEST_CASE("large callables and large results are carried whole") {
    const auto carry = [](auto input) {
        for (std::size_t i = 0; i < input.size(); ++i) input[i] = static_cast<int>(i);
        auto task = fiber::spawn([input] {
            fiber::yield();
            return input;
        });
        const auto output = task.get();
        CHECK(output == input);
        fiber::promise<decltype(input)> promise;
        promise.set_value(input);
        CHECK(promise.get_future().get() == input);
    };
    on_each_worker_count([&] {
        carry(std::array<int, 10>());
        carry(std::array<int, 100>());
        carry(std::array<int, 250>());
        carry(std::array<int, 260>());
        carry(std::array<int, 2000>());
        carry(std::array<int, 5'000>());  // several copies of it stand on the stack at once
    });
}

namespace {

// Notices when it stands at an address that its alignment forbids.
template <std::size_t Alignment>
class alignas(Alignment) aligned_value {
 public:
    explicit aligned_value(int value) : value_(value) { check(); }
    aligned_value(const aligned_value& other) : value_(other.value_) { check(); }
    int value() const { return value_; }

 private:
    void check() const {
        const volatile auto address =
            reinterpret_cast<std::uintptr_t>(this);  // else the compiler knows that all is well
        CHECK(address % Alignment == 0);
    }
    int value_;
};

template <std::size_t Alignment>
void carry_aligned() {
    const aligned_value<Alignment> captured(3);
    auto task = fiber::spawn([captured] {
        fiber::yield();
        return aligned_value<Alignment>(captured.value() + 1);
    });
    CHECK(task.get().value() == 4);
    fiber::promise<aligned_value<Alignment>> promise;
    auto future = promise.get_future();
    promise.set_value(captured);
    CHECK(future.get().value() == 3);
}

}  // namespace

TEST_CASE("over-aligned callables and results are aligned") {
    on_each_worker_count([] {
        carry_aligned<32>();
        carry_aligned<64>();
        carry_aligned<128>();
        carry_aligned<1024>();
    });
}

TEST_CASE("wait waits without taking the result or throwing; done tells") {
    on_each_worker_count([] {
        gate open;
        auto task = fiber::spawn([&]() -> int {
            open.wait();
            throw std::runtime_error("late");
        });
        CHECK_FALSE(task.done());
        open.open();
        task.wait();
        CHECK(task.done());
        task.wait();
        CHECK_THROWS_AS(task.get(), std::runtime_error);
    });
}

TEST_CASE("wait_for and wait_until say whether the task has finished, and cancel nothing") {
    on_each_worker_count([] {
        gate open;
        auto task = fiber::spawn([&] {
            open.wait();
            return 8;
        });
        CHECK_FALSE(task.wait_for(1ms));
        CHECK_FALSE(task.wait_for(0s));
        CHECK_FALSE(task.wait_for(-1s));
        CHECK_FALSE(task.wait_until(std::chrono::steady_clock::now() + 1ms));
        CHECK(task.cancelling() == 0);
        open.open();
        CHECK(task.wait_for(1h));
        CHECK(task.wait_for(0s));
        CHECK(task.wait_until(std::chrono::steady_clock::now() - 1h));
        CHECK(task.get() == 8);
    });
}

TEST_CASE("several fibers may wait for the same task") {
    on_each_worker_count([] {
        gate open;
        auto awaited = fiber::spawn([&] { open.wait(); });
        std::atomic<int> woken{0};
        std::vector<fiber::task<void>> waiters;
        for (int i = 0; i < 20; ++i) {
            waiters.push_back(fiber::spawn([&] {
                awaited.wait();
                ++woken;
            }));
        }
        fiber::yield();
        CHECK(woken == 0);
        open.open();
        for (auto& waiter : waiters) waiter.get();
        CHECK(woken == 20);
    });
}

TEST_CASE("exception tells what a finished task threw") {
    on_each_worker_count([] {
        auto good = fiber::spawn([] {});
        auto bad = fiber::spawn([] { throw std::runtime_error("bad"); });
        good.wait();
        bad.wait();
        CHECK(good.exception() == nullptr);
        const std::exception_ptr thrown = bad.exception();
        REQUIRE(thrown != nullptr);
        CHECK_THROWS_WITH_AS(std::rethrow_exception(thrown), "bad", std::runtime_error);
    });
}

TEST_CASE("exception of an unfinished task is a usage_error, of a cancelled one it throws cancelled") {
    on_each_worker_count([] {
        auto task = fiber::spawn(park_until_cancelled);
        CHECK_THROWS_AS((void)task.exception(), fiber::usage_error);
        task.cancel();
        task.wait();
        CHECK_THROWS_AS((void)task.exception(), fiber::cancelled);
    });
}

TEST_CASE("a value can be had once, an exception as often as asked") {
    on_each_worker_count([] {
        auto value = fiber::spawn([] { return 1; });
        CHECK(value.get() == 1);
        CHECK_THROWS_AS(value.get(), std::future_error);
        auto error = fiber::spawn([] { throw std::runtime_error("again"); });
        CHECK_THROWS_AS(error.get(), std::runtime_error);
        CHECK_THROWS_AS(error.get(), std::runtime_error);
    });
}

TEST_CASE("a result may be a reference") {
    on_each_worker_count([] {
        int target = 1;
        auto task = fiber::spawn([&]() -> int& { return target; });
        static_assert(std::is_same_v<decltype(task), fiber::task<int&>>);
        CHECK(&task.get() == &target);
        fiber::promise<int&> promise;
        promise.set_value(target);
        CHECK(&promise.get_future().get() == &target);
    });
}

TEST_CASE("a task has the name it was given") {
    on_each_worker_count([] {
        auto named = fiber::spawn({.name = "reader"}, [] {});
        CHECK(std::string(named.name()) == "reader");
        named.get();
    });
}

TEST_CASE("a task's stack is at least as large as it asked for") {
    on_each_worker_count([] {
        const auto use = [](std::size_t bytes) {
            fiber::yield();
            volatile char* block = static_cast<volatile char*>(__builtin_alloca(bytes));
            for (std::size_t i = 0; i < bytes; i += 4096) block[i] = 1;
            fiber::yield();
            return block[0] == 1;
        };
        CHECK(fiber::spawn({.stack_size = 4 * 1024 * 1024}, use, 3 * 1024 * 1024).get());
        CHECK(fiber::spawn({.stack_size = 64 * 1024}, use, 32 * 1024).get());
        CHECK(fiber::spawn(use, 128 * 1024).get());
    });
}
