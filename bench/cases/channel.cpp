// pingpong: two fibers (threads) send an int back and forth over two rendezvous channels, 5,000 times a batch. Figure:
// wall time per round trip. Threads use a queue of capacity 1, which is faster for them. channel_mpmc: one channel of
// capacity 128, 4 producers and 4 consumers, 40,000 items a batch. Figure: wall time per item.
#include <atomic>
#include <vector>

#include "bench/harness/registry.hpp"
#include "bench/peers/systems.hpp"

namespace bench::channel_case {

constexpr int rounds = 5'000;
constexpr int sides = 4;
constexpr int items = 10'000;

constexpr auto pingpong = []<class System>(benchmark::State& state, int workers) {
    System::run(workers, [&] {
        while (state.KeepRunningBatch(rounds)) {
            typename System::template channel<int> there(0), back(0);
            auto pong = System::spawn([&] {
                for (int i = 0; i < rounds; ++i) back.push(*there.pop() + 1);
            });
            auto ping = System::spawn([&] {
                for (int i = 0; i < rounds; ++i) {
                    there.push(i);
                    if (*back.pop() != i + 1) state.SkipWithError("wrong item");
                }
            });
            ping.get();
            pong.get();
        }
    });
};

constexpr auto many_to_many = []<class System>(benchmark::State& state, int workers) {
    System::run(workers, [&] {
        while (state.KeepRunningBatch(sides * items)) {
            typename System::template channel<int> channel(128);
            std::atomic<int> taken{0};
            std::vector<decltype(System::spawn([] {}))> producers, consumers;
            for (int s = 0; s < sides; ++s) {
                consumers.push_back(System::spawn([&] {
                    int mine = 0;
                    while (auto item = channel.pop()) ++mine;
                    taken.fetch_add(mine);
                }));
                producers.push_back(System::spawn([&] {
                    for (int i = 0; i < items; ++i) channel.push(i);
                }));
            }
            for (auto& one : producers) one.get();
            channel.close();
            for (auto& one : consumers) one.get();
            if (taken.load() != sides * items) state.SkipWithError("lost items");
        }
    });
};

const bool peers_added = add<threads, boost_fibers>("pingpong", per_operation, pingpong) &&
                         add<threads, boost_fibers>("channel_mpmc", per_operation, many_to_many);

#if defined(BENCH_HAVE_FIBER_CHANNEL)
const bool fiber_added =
    add<fibers>("pingpong", per_operation, pingpong) && add<fibers>("channel_mpmc", per_operation, many_to_many);
#endif

}  // namespace bench::channel_case
