// The injection queue explored exhaustively: each object is handed out once, whole, and each pusher's in order.
#include <array>
#include <doctest/doctest.h>

#include "scheduler/queue/injection_queue.hpp"
#include "tests/model/expect.hpp"
#include "tests/model/explorer.hpp"

namespace {

using model::scenario;

struct item {
    item* queue_next = nullptr;
    model::plain<int> payload{0};
    int times_taken = 0;

    void run() {
        model::check(payload.get() == 1, "an object that was not whole");
        payload.set(2);
        model::check(++times_taken == 1, "an object was handed out twice");
    }
};

using queue = fiber::engine::injection_queue<item, &item::queue_next, model::atomic, model::spin_lock>;

struct stage {
    queue shared;
    std::array<item, 4> items;

    void push(std::size_t number) {
        items[number].payload.set(1);
        shared.push(items[number]);
    }
    void check_each_left_once() {
        while (item* rest = shared.pop()) ++rest->times_taken;
        for (const item& each : items) model::check(each.times_taken == 1, "an object was lost or doubled");
    }
};

}  // namespace

TEST_SUITE_BEGIN("injection queue model");

TEST_CASE("two pushers, one consumer that takes single objects and batches") {
    model::must_pass(model::explore([](scenario& s) {
        auto& all = s.make<stage>();
        for (std::size_t self = 0; self < 2; ++self) {
            s.thread("pusher", [&all, self] {
                all.push(2 * self);
                all.push(2 * self + 1);
            });
        }
        s.thread("consumer", [&all] {
            if (item* one = all.shared.pop()) one->run();
            all.shared.pop_batch([](item& each) { each.run(); }, 2);
        });
        s.finally([&all] { all.check_each_left_once(); });
    }));
}

TEST_CASE("two consumers, one of which pushes back") {
    model::must_pass(model::explore([](scenario& s) {
        auto& all = s.make<stage>();
        for (std::size_t i = 0; i < 4; ++i) all.push(i);
        s.thread("puts back", [&all] { all.shared.pop_batch([&all](item& each) { all.shared.push(each); }, 2); });
        s.thread("takes", [&all] {
            all.shared.pop_batch([](item& each) { each.run(); }, 3);
            if (item* one = all.shared.pop()) one->run();
        });
        s.finally([&all] { all.check_each_left_once(); });
    }));
}

TEST_CASE("an object that a thread has pushed is found by whoever looks after the pusher's next step") {
    // The pair that an idle worker relies on: push, then load the idle word <> announce, then empty().
    model::must_pass(model::explore([](scenario& s) {
        struct with_idle_word : stage {
            model::atomic<int> idle{0};
            model::atomic<int> missed{0};
        };
        auto& all = s.make<with_idle_word>();
        s.thread("pusher", [&all] {
            all.push(0);
            if (all.idle.load() == 0) all.missed.fetch_add(1);
        });
        s.thread("worker", [&all] {
            all.idle.fetch_add(1);
            if (all.shared.empty()) all.missed.fetch_add(1);
        });
        s.finally([&all] { model::check(all.missed.peek() < 2, "both missed each other"); });
    }));
}

TEST_SUITE_END();
