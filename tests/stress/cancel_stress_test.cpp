// Tasks that wait for each other in random graphs, rings among them, by get() and by gather, and are cancelled at
// random moments, from fibers and from outside threads at once. What is checked: whoever cancels comes back, and once
// each task has been cancelled, each ends; the fixture's teardown finds nothing left.
#include <thread>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

using generator = fiber_test::random;

// Each task waits for some of the others, none for one that another waits for: rings, chains and trees come of it.
std::vector<std::vector<std::size_t>> random_graph(generator& dice, std::size_t size) {
    std::vector<std::vector<std::size_t>> waits_for(size);
    for (std::size_t each = 0; each < size; ++each) {
        if (dice.below(4) == 0) continue;
        const std::size_t by = dice.below(size);
        if (by != each) waits_for[by].push_back(each);
    }
    return waits_for;
}

void wait_in_some_way(generator& dice, std::vector<fiber::task<void>*> others) {
    if (others.empty()) return park_until_cancelled();
    const auto gather_them = [&] {
        switch (others.size()) {
            case 1:
                return (void)fiber::gather(*others[0]);
            case 2:
                return (void)fiber::gather(fiber::return_exceptions, *others[0], *others[1]);
            default:
                return (void)fiber::gather(*others[0], *others[1], *others[2]);
        }
    };
    switch (dice.below(5)) {
        case 0:
            return others[0]->get();
        case 1:
            return fiber::with_timeout(std::chrono::microseconds(dice.below(3000)), gather_them);
        case 2: {
            // Refuses the first request while it cleans up.
            try {
                return gather_them();
            } catch (const fiber::cancelled&) {
                fiber::sleep_for(std::chrono::microseconds(dice.below(300)));
                throw;
            }
        }
        default:
            return gather_them();
    }
}

void cancel_at_random(generator dice, std::vector<fiber::task<void>>& tasks) {
    for (int i = 0; i < 6; ++i) {
        fiber::task<void>& any = tasks[dice.below(tasks.size())];
        dice.below(2) == 0 ? any.cancel() : any.cancel("a reason that is too long for a small string");
        const auto pause = std::chrono::microseconds(dice.below(200));
        dice.below(2) == 0 ? fiber::sleep_for(pause) : std::this_thread::yield();
    }
}

void run_one_graph(generator& dice) {
    const std::size_t size = 2 + dice.below(9);
    const auto graph = random_graph(dice, size);
    std::vector<fiber::task<void>> tasks(size);
    fiber::event go;
    for (std::size_t i = 0; i < size; ++i) {
        std::vector<fiber::task<void>*> others;
        for (const std::size_t each : graph[i]) others.push_back(&tasks[each]);
        tasks[i] = fiber::spawn([&go, others, own = generator(dice.next())]() mutable {
            fiber::uncancellable([&] { go.wait(); });
            if (own.below(2) == 0) fiber::sleep_for(std::chrono::microseconds(own.below(300)));
            try {
                wait_in_some_way(own, others);
            } catch (const fiber::timeout_error&) {
                // Its own limit, or that of one it waited for.
            }
        });
    }
    go.set();
    {
        auto from_fiber = fiber::spawn([&, own = generator(dice.next())] { cancel_at_random(own, tasks); });
        std::jthread outside([&, own = generator(dice.next())] { cancel_at_random(own, tasks); });
        from_fiber.get();
    }
    for (auto& each : tasks) each.cancel();
    for (auto& each : tasks) REQUIRE(each.wait_for(patience));
}

}  // namespace

TEST_CASE("random graphs of tasks that wait for each other, cancelled from everywhere: each ends") {
    on_each_worker_count([] {
        generator dice(42);
        for (int round = 0; round < (FIBER_TSAN || FIBER_ASAN ? 100 : 400); ++round) run_one_graph(dice);
    });
}
