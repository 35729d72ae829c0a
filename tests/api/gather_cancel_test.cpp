// Cancelling one who waits in gather: rows 5 and 6 of the semantics.
#include <functional>
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

constexpr int children = 5;

enum class ending { lets_it_pass, suppresses, throws_another };

// Children that park, note the message of their cancellation, clean up for a while, and end in the given way.
class family {
 public:
    explicit family(ending way) : way_(way) {}

    void operator()() const {
        try {
            ++started_;
            park_until_cancelled();
        } catch (const fiber::cancelled& error) {
            fiber::sleep_for(1ms);
            messages_.add(std::string(error.message()));
            if (way_ == ending::throws_another) throw std::runtime_error("clean-up failed");
            if (way_ == ending::lets_it_pass) throw;
        }
    }

    std::vector<fiber::task<void>> spawn() const {
        std::vector<fiber::task<void>> tasks;
        for (int i = 0; i < children; ++i) tasks.push_back(fiber::spawn(std::cref(*this)));
        return tasks;
    }

    bool all_started() const { return started_ == children; }
    void check_all_saw(const std::string& message) const {
        CHECK(messages_.entries() == std::vector<std::string>(children, message));
    }

 private:
    ending way_;
    mutable std::atomic<int> started_{0};
    mutable journal<std::string> messages_;
};

// Cancels the waiter once the children have parked, and waits for its end.
template <class T>
void cancel_when_ready(const family& kin, fiber::task<T>& waiter) {
    REQUIRE(yield_until([&] { return kin.all_started(); }));
    settle();
    CHECK(waiter.cancel("from outside"));
    waiter.wait();
}

}  // namespace

TEST_CASE("row 5: cancelling the waiter cancels every child with its message and waits for their clean-up") {
    in_virtual_time([] {
        const family kin(ending::lets_it_pass);
        auto waiter = fiber::spawn([&] {
            auto tasks = kin.spawn();
            try {
                fiber::gather(tasks);
            } catch (const fiber::cancelled& error) {
                CHECK(std::string(error.message()) == "from outside");
                for (const auto& task : tasks) CHECK(task.done());
                throw;
            }
        });
        cancel_when_ready(kin, waiter);
        CHECK(waiter.cancelled());
        kin.check_all_saw("from outside");
    });
}

TEST_CASE("row 5: the same with return_exceptions") {
    in_virtual_time([] {
        const family kin(ending::lets_it_pass);
        auto waiter = fiber::spawn([&] {
            auto tasks = kin.spawn();
            (void)fiber::gather(fiber::return_exceptions, tasks);
            FAIL("gather swallowed the cancellation of its waiter");
        });
        cancel_when_ready(kin, waiter);
        CHECK(waiter.cancelled());
        kin.check_all_saw("from outside");
    });
}

TEST_CASE("row 5: children that were moved in, or are callables, are cancelled alike") {
    in_virtual_time([] {
        const family kin(ending::lets_it_pass);
        auto waiter = fiber::spawn([&] {
            const auto child = [&] { kin(); };
            (void)fiber::gather(fiber::spawn(child), child, fiber::spawn(child), child, child);
        });
        cancel_when_ready(kin, waiter);
        CHECK(waiter.cancelled());
        kin.check_all_saw("from outside");
    });
}

TEST_CASE("row 5: children that suppress it change nothing") {
    in_virtual_time([] {
        const family kin(ending::suppresses);
        auto plain = fiber::spawn([&] { fiber::gather(kin.spawn()); });
        cancel_when_ready(kin, plain);
        CHECK(plain.cancelled());
        kin.check_all_saw("from outside");
        const family second(ending::suppresses);
        auto with_outcomes = fiber::spawn([&] { (void)fiber::gather(fiber::return_exceptions, second.spawn()); });
        cancel_when_ready(second, with_outcomes);
        CHECK(with_outcomes.cancelled());
    });
}

TEST_CASE("row 6: a child that throws in clean-up: plain gather throws that") {
    in_virtual_time([] {
        const family kin(ending::throws_another);
        auto waiter = fiber::spawn([&] { fiber::gather(kin.spawn()); });
        cancel_when_ready(kin, waiter);
        CHECK_FALSE(waiter.cancelled());
        CHECK_THROWS_WITH_AS(waiter.get(), "clean-up failed", std::runtime_error);
        kin.check_all_saw("from outside");
    });
}

TEST_CASE("row 6: a child that throws in clean-up: return_exceptions throws cancelled") {
    in_virtual_time([] {
        const family kin(ending::throws_another);
        auto waiter = fiber::spawn([&] { (void)fiber::gather(fiber::return_exceptions, kin.spawn()); });
        cancel_when_ready(kin, waiter);
        CHECK(waiter.cancelled());
        kin.check_all_saw("from outside");
    });
}
