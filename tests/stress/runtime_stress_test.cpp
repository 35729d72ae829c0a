// Random load on the whole runtime, at 1, 2, 4 and 16 workers: trees of tasks that sleep, yield, fail, are cancelled
// and detached; exceptions in flight while fibers migrate; several runtimes at once; threads outside that spawn, post
// and wait. Everything random derives from the printed seed. What is checked: results are right, each body that started
// has ended, and the fixture's teardown finds nothing left.
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

using generator = fiber_test::random;

// Counts the bodies that have started and not ended yet.
class attendance {
 public:
    class presence {
     public:
        explicit presence(attendance& list) : list_(list) {
            ++list_.present_;
            ++list_.total_;
        }
        presence(const presence&) = delete;
        presence& operator=(const presence&) = delete;
        ~presence() { --list_.present_; }

     private:
        attendance& list_;
    };
    long present() const { return present_; }
    long total() const { return total_; }

 private:
    std::atomic<long> present_{0};
    std::atomic<long> total_{0};
};

void pause(generator& dice) {
    switch (dice.below(4)) {
        case 0:
            fiber::yield();
            break;
        case 1:
            fiber::sleep_for(std::chrono::microseconds(dice.below(200)));
            break;
        case 2:
            fiber::sleep_for(0s);
            break;
        default:
            break;
    }
}

// A tree whose sum is known: each node adds its number, children are joined in a random order.
long tree_sum(std::uint64_t number, int depth) {
    generator dice(number);
    pause(dice);
    long sum = static_cast<long>(number % 1000);
    if (depth == 0) return sum;
    std::vector<fiber::task<long>> children;
    const std::uint64_t count = 1 + dice.below(4);
    for (std::uint64_t i = 0; i < count; ++i) children.push_back(fiber::spawn(tree_sum, number * 5 + i + 1, depth - 1));
    pause(dice);
    while (!children.empty()) {
        const auto chosen = children.begin() + static_cast<std::ptrdiff_t>(dice.below(children.size()));
        sum += chosen->get();
        children.erase(chosen);
    }
    pause(dice);
    return sum;
}

// The same sum, without tasks.
long plain_sum(std::uint64_t number, int depth) {
    generator dice(number);
    const auto skip_pause = [&] {
        if (dice.below(4) == 1) dice.below(200);
    };
    skip_pause();
    long sum = static_cast<long>(number % 1000);
    if (depth == 0) return sum;
    const std::uint64_t count = 1 + dice.below(4);
    for (std::uint64_t i = 0; i < count; ++i) sum += plain_sum(number * 5 + i + 1, depth - 1);
    return sum;
}

// A node that may do anything to its children, and may be hit by anything itself.
int wild_node(attendance& list, std::uint64_t number, int depth) {
    const attendance::presence here(list);
    const tracked content(1);
    generator dice(number);
    std::vector<fiber::task<int>> children;
    const std::uint64_t count = depth == 0 ? 0 : dice.below(5);
    for (std::uint64_t i = 0; i < count; ++i) {
        auto child = fiber::spawn(wild_node, std::ref(list), number * 5 + i + 1, depth - 1);
        if (dice.below(8) == 0) {
            child.detach();
        } else {
            children.push_back(std::move(child));
        }
        pause(dice);
    }
    int ended = 1;
    for (auto& child : children) {
        switch (dice.below(6)) {
            case 0:
                child.cancel("by its parent");
                break;
            case 1:
                (void)child.wait_for(std::chrono::microseconds(dice.below(300)));
                break;
            case 2:
                continue;  // the destructor cancels and joins
            default:
                break;
        }
        try {
            ended += child.get();
        } catch (const std::runtime_error&) {
            pause(dice);
        } catch (const fiber::cancelled&) {
            pause(dice);
            if (dice.below(2) == 0) throw;
        }
    }
    if (dice.below(10) == 0) throw std::runtime_error("node failed");
    return ended;
}

struct yields_in_destructor {
    generator& dice;
    ~yields_in_destructor() {
        CHECK(std::uncaught_exceptions() == 1);
        pause(dice);
        CHECK(std::uncaught_exceptions() == 1);
    }
};

// Throws, waits in destructors and in nested catch blocks, and checks that its exceptions are its own throughout.
void catch_and_migrate(std::uint64_t number) {
    generator dice(number);
    const std::string own = "own " + std::to_string(number);
    for (int i = 0; i < 5; ++i) {
        try {
            const yields_in_destructor guard{dice};
            pause(dice);
            throw std::runtime_error(own);
        } catch (const std::runtime_error& outer) {
            CHECK(std::uncaught_exceptions() == 0);
            pause(dice);
            try {
                throw static_cast<int>(number);
            } catch (int inner) {
                pause(dice);
                CHECK(inner == static_cast<int>(number));
                CHECK_THROWS_AS(throw, int);
            }
            pause(dice);
            CHECK(std::string(outer.what()) == own);
            CHECK_THROWS_WITH_AS(throw, own.c_str(), std::runtime_error);
        }
        CHECK(std::current_exception() == nullptr);
    }
}

fiber::runtime_options quiet(unsigned workers) {
    fiber::runtime_options options{.workers = workers};
    options.on_unretrieved_exception = [](const fiber::unretrieved_exception&) {};
    return options;
}

}  // namespace

TEST_CASE("random trees of tasks give the right sum") {
    on_each_worker_count([] {
        for (std::uint64_t root = 1; root <= 4; ++root) {
            const int depth = sanitized ? 4 : 8;
            auto task = fiber::spawn(tree_sum, root * 1000, depth);
            CHECK(task.get() == plain_sum(root * 1000, depth));
        }
    });
}

TEST_CASE("random trees with failures, cancels, time-outs and detached children leave nothing") {
    for_each_worker_count([](unsigned workers) {
        attendance list;
        {
            runtime_fixture fixture(quiet(workers));
            fixture.run([&] {
                for (int i = 0; i < scaled(150); ++i) {
                    std::vector<fiber::task<int>> roots;
                    for (std::uint64_t k = 0; k < 4; ++k) {
                        const auto number = static_cast<std::uint64_t>(i) * 100'000 + k;
                        roots.push_back(fiber::spawn(wild_node, std::ref(list), number, 4));
                    }
                    for (const auto& result : fiber::gather(fiber::return_exceptions, roots)) {
                        if (result.has_value()) CHECK(result.value() >= 1);
                    }
                }
            });
            CHECK(list.present() == 0);
            CHECK(list.total() >= 4);
        }
        CHECK(tracked::live() == 0);
    });
}

TEST_CASE("the end of run meets tasks in every state") {
    for_each_worker_count([](unsigned workers) {
        attendance list;
        for (int i = 0; i < scaled(50); ++i) {
            fiber::run(quiet(workers), [&] {
                for (std::uint64_t k = 0; k < 10; ++k) {
                    const auto number = static_cast<std::uint64_t>(i) * 7'000 + k;
                    fiber::spawn(wild_node, std::ref(list), number, 3).detach();
                }
                generator dice(static_cast<std::uint64_t>(i));
                pause(dice);
            });
            REQUIRE(list.present() == 0);
            REQUIRE(tracked::live() == 0);
        }
    });
}

TEST_CASE("fibers that migrate inside catch blocks and while unwinding keep their own exceptions") {
    on_each_worker_count([] {
        std::vector<fiber::task<void>> tasks;
        for (int i = 0; i < scaled(1000); ++i) {
            tasks.push_back(fiber::spawn(catch_and_migrate, static_cast<std::uint64_t>(i)));
        }
        fiber::gather(tasks);
    });
}

TEST_CASE("several runtimes at once, whose tasks spawn into each other and wait") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        constexpr std::size_t runtimes = 3;
        std::vector<std::unique_ptr<fiber::runtime>> all;
        for (std::size_t i = 0; i < runtimes; ++i) {
            all.push_back(std::make_unique<fiber::runtime>(fiber::runtime_options{.workers = workers}));
        }
        gate stop;
        std::vector<std::thread> hosts;
        for (auto& rt : all) hosts.emplace_back([&] { rt->run([&] { stop.wait(); }); });
        std::vector<fiber::task<long>> tasks;
        for (int i = 0; i < scaled(1000); ++i) {
            const auto number = static_cast<std::uint64_t>(i);
            tasks.push_back(all[number % runtimes]->spawn([&, number] {
                generator dice(number);
                pause(dice);
                auto remote = all[dice.below(runtimes)]->spawn([number] {
                    generator other_dice(number + 1);
                    pause(other_dice);
                    return static_cast<long>(number);
                });
                pause(dice);
                return remote.get();
            }));
        }
        for (std::size_t i = 0; i < tasks.size(); ++i) CHECK(tasks[i].get() == static_cast<long>(i));
        tasks.clear();
        stop.open();
        for (auto& host : hosts) host.join();
    });
}

TEST_CASE("threads outside spawn, post, wait, cancel and give up while the runtime is busy") {
    for_each_worker_count([](unsigned workers) {
        attendance list;
        runtime_fixture fixture(quiet(workers));
        std::atomic<long> posts_made{0};
        std::atomic<long> posts_run{0};
        const auto outside = [&](std::uint64_t number) {
            generator dice(number);
            for (int i = 0; i < scaled(500); ++i) {
                fixture.runtime().post([&] { ++posts_run; });
                ++posts_made;
                const auto node = number * 1'000'000 + static_cast<std::uint64_t>(i);
                auto task = fixture.runtime().spawn(wild_node, std::ref(list), node, 2);
                switch (dice.below(5)) {
                    case 0:
                        task.cancel("from outside");
                        break;
                    case 1:
                        continue;  // gives up
                    case 2:
                        (void)task.wait_for(std::chrono::microseconds(dice.below(500)));
                        break;
                    default:
                        break;
                }
                task.wait();
                CHECK(task.done());
            }
        };
        fixture.run([&] {
            std::vector<std::thread> threads;
            for (std::uint64_t t = 1; t <= 3; ++t) threads.emplace_back(outside, t);
            auto noise = fiber::spawn([] {
                for (;;) {
                    fiber::spawn([] { fiber::yield(); }).get();
                    fiber::sleep_for(20us);
                }
            });
            fiber::to_thread([&] {
                for (auto& thread : threads) thread.join();
            });
            CHECK(yield_until([&] { return posts_run == posts_made; }));
        });
        CHECK(list.present() == 0);
    });
}

TEST_CASE("offloaded calls race with their cancellation") {
    on_each_worker_count([] {
        std::atomic<long> calls{0};
        std::vector<fiber::task<int>> tasks;
        generator dice(99);
        for (int i = 0; i < scaled(2000); ++i) {
            tasks.push_back(fiber::spawn([&calls, i] {
                return fiber::to_thread([&calls, held = tracked(i)] {
                    ++calls;
                    return held.value();
                });
            }));
            if (dice.below(3) == 0) tasks[dice.below(tasks.size())].cancel();
            if (dice.below(8) == 0) fiber::yield();
        }
        for (std::size_t i = 0; i < tasks.size(); ++i) {
            tasks[i].wait();
            if (!tasks[i].cancelled()) CHECK(tasks[i].get() == static_cast<int>(i));
        }
        CHECK(yield_until([] { return tracked::live() == 0; }));
    });
}
