// pingpong_future: two fibers (threads) wake each other through a promise and a future per message, both made within
// the measured time. Figure: wall time per round trip (two promises, two hand-overs). It needs no channel.
// timer_cancel: a fiber waits for a future with a time-out of 10 s, and another one satisfies it; 5,000 times a batch.
// Each wait arms a timer that never fires. Figure: wall time per wait, making the promise and the hand-over included.
#include <chrono>
#include <vector>

#include "bench/harness/registry.hpp"
#include "bench/peers/systems.hpp"

namespace bench::promise_case {

constexpr int rounds = 5'000;

constexpr auto pingpong = []<class System>(benchmark::State& state, int workers) {
    System::run(workers, [&] {
        using promise = typename System::template promise<int>;
        while (state.KeepRunningBatch(rounds)) {
            std::vector<promise> there(rounds), back(rounds);
            auto pong = System::spawn([&] {
                for (int i = 0; i < rounds; ++i) back[i].set_value(there[i].get_future().get() + 1);
            });
            auto ping = System::spawn([&] {
                for (int i = 0; i < rounds; ++i) {
                    there[i].set_value(i);
                    if (back[i].get_future().get() != i + 1) state.SkipWithError("wrong item");
                }
            });
            ping.get();
            pong.get();
        }
    });
};

constexpr auto satisfied_wait = []<class System>(benchmark::State& state, int workers) {
    System::run(workers, [&] {
        using promise = typename System::template promise<int>;
        while (state.KeepRunningBatch(rounds)) {
            std::vector<promise> promises(rounds);
            auto waiter = System::spawn([&] {
                for (auto& one : promises) {
                    auto future = one.get_future();
                    future.wait_for(std::chrono::seconds(10));
                    benchmark::DoNotOptimize(future.get());
                }
            });
            auto satisfier = System::spawn([&] {
                for (auto& one : promises) {
                    System::yield();
                    one.set_value(1);
                }
            });
            waiter.get();
            satisfier.get();
        }
    });
};

const bool pingpong_added = add<fibers, threads, boost_fibers>("pingpong_future", per_operation, pingpong);
const bool timer_added = add<fibers, threads, boost_fibers>("timer_cancel", per_operation, satisfied_wait);

}  // namespace bench::promise_case
