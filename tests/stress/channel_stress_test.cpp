// Random load on channels, select and queues, from fibers and plain threads at once, with time-outs and cancellations
// in between. Everything random derives from the printed seed. What is checked: every item that was pushed is popped
// exactly once, none that was not; and the fixture's teardown finds nothing left.
#include <functional>
#include <vector>

#include "tests/api/fixture.hpp"

using namespace fiber::test;
using fiber::channel;
using fiber::channel_status;

namespace {

using generator = fiber_test::random;

// Who was given which number, how often.
class ledger {
 public:
    explicit ledger(std::size_t items) : given_(items), taken_(items) {}

    int next() { return next_.fetch_add(1); }
    bool is_over() const { return next_.load() >= static_cast<int>(given_.size()); }
    void give(int number) { ++given_[static_cast<std::size_t>(number)]; }
    void take(int number) { ++taken_[static_cast<std::size_t>(number)]; }
    void check() const {
        long wrong = 0;
        for (std::size_t i = 0; i < given_.size(); ++i) wrong += given_[i] != taken_[i] || given_[i] > 1;
        CHECK(wrong == 0);
    }

 private:
    std::vector<std::atomic<int>> given_, taken_;
    std::atomic<int> next_{0};
};

struct place {
    channel<tracked> channels[3] = {channel<tracked>(0), channel<tracked>(1), channel<tracked>(5)};
    ledger items;
    explicit place(int count) : items(static_cast<std::size_t>(count)) {}
};

// One try to push in a random way. Fills in whether the item has changed hands, also when it throws.
void push_somehow(place& here, generator& dice, tracked& item, bool& pushed) {
    auto& one = here.channels[dice.below(3)];
    auto& other = here.channels[dice.below(3)];
    const auto limit = std::chrono::microseconds(dice.below(100));
    switch (dice.below(5)) {
        case 0:
            pushed = one.push(std::move(item));
            break;
        case 1:
            pushed = one.try_push(item) == channel_status::ok;
            break;
        case 2:
            pushed = one.push_for(item, limit) == channel_status::ok;
            break;
        default: {
            const auto note = [&](bool done) { pushed = done; };
            fiber::select(fiber::on_push(one, std::move(item), note), fiber::on_push(other, std::move(item), note),
                          fiber::on_timeout(limit, [] {}));
        }
    }
}

void pop_somehow(place& here, generator& dice, std::optional<tracked>& item) {
    auto& one = here.channels[dice.below(3)];
    auto& other = here.channels[dice.below(3)];
    const auto limit = std::chrono::microseconds(dice.below(100));
    switch (dice.below(4)) {
        case 0:
            item = one.pop_for(limit);
            break;
        case 1:
            item = one.try_pop();
            break;
        default: {
            const auto note = [&](std::optional<tracked> got) { item = std::move(got); };
            fiber::select(fiber::on_pop(one, note), fiber::on_pop(other, note), fiber::on_timeout(limit, [] {}));
        }
    }
}

// Takes each number to a channel, however often it is interrupted.
void push_all(place& here, std::uint64_t stream) {
    generator dice(stream);
    for (int number = here.items.next(); !here.items.is_over(); number = here.items.next()) {
        tracked item(number);
        here.items.give(number);
        for (bool pushed = false; !pushed;) {
            try {
                push_somehow(here, dice, item, pushed);
            } catch (const fiber::cancelled&) {
                fiber::this_fiber::uncancel();
            }
            if (!pushed) CHECK(item.value() == number);
        }
    }
}

void pop_all(place& here, std::uint64_t stream, const std::atomic<bool>& pushed_all) {
    generator dice(stream);
    for (bool again = true; again;) {
        again = !pushed_all;
        std::optional<tracked> item;
        try {
            pop_somehow(here, dice, item);
        } catch (const fiber::cancelled&) {
            fiber::this_fiber::uncancel();
            again = true;
        }
        if (item) here.items.take(item->value());
        again |= item.has_value();
    }
}

void drain(place& here) {
    for (auto& each : here.channels) {
        while (auto item = each.try_pop()) here.items.take(item->value());
    }
}

}  // namespace

TEST_SUITE_BEGIN("channel stress");

TEST_CASE("row 33: every item once, under time-outs, selects and cancellations, from fibers and threads") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        place here(scaled(40'000));
        std::atomic<bool> pushed_all{false};
        std::thread outside_pusher([&] { push_all(here, 1); });
        std::thread outside_popper([&] { pop_all(here, 2, pushed_all); });
        fixture.run([&] {
            std::vector<fiber::task<void>> pushers, poppers;
            for (std::uint64_t i = 0; i < 4; ++i) {
                pushers.push_back(fiber::spawn(push_all, std::ref(here), 10 + i));
                poppers.push_back(fiber::spawn(pop_all, std::ref(here), 20 + i, std::cref(pushed_all)));
            }
            generator dice(3);
            while (!here.items.is_over()) {
                (dice.below(2) ? pushers : poppers)[dice.below(4)].cancel();
                fiber::sleep_for(std::chrono::microseconds(dice.below(60)));
            }
            for (auto& pusher : pushers) pusher.wait();  // a cancellation may have come after its last push
            fiber::to_thread([&] { outside_pusher.join(); });
            pushed_all = true;
            for (auto& popper : poppers) popper.wait();
        });
        outside_popper.join();
        drain(here);
        here.items.check();
    });
}

TEST_CASE("row 33: closing while everything runs: what was pushed is popped") {
    on_each_worker_count([] {
        for (std::uint64_t round = 0; round < static_cast<std::uint64_t>(scaled(400)); ++round) {
            const int count = 400;
            channel<tracked> items(round % 4);
            ledger book(count);
            const auto push = [&] {
                for (int number = book.next(); number < count; number = book.next()) {
                    if (!items.push(tracked(number))) return;
                    book.give(number);
                }
            };
            const auto pop = [&] {
                for (auto& item : items) book.take(item.value());
            };
            std::vector<fiber::task<void>> all;
            all.push_back(fiber::spawn([&] { round % 2 ? fiber::to_thread(push) : fiber::to_thread(pop); }));
            for (int i = 0; i < 3; ++i) {
                all.push_back(fiber::spawn(push));
                all.push_back(fiber::spawn(pop));
            }
            generator dice(round);
            for (std::uint64_t i = dice.below(40); i != 0; --i) fiber::yield();
            items.close();
            fiber::gather(std::move(all));
            book.check();
        }
    });
}

TEST_CASE("row 33: a bounded queue with joins, cancellations and a shutdown") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        const int count = scaled(20'000);
        fiber::priority_queue<int> queue(3);
        ledger book(static_cast<std::size_t>(count));
        std::thread outside([&] {
            try {
                for (;;) {
                    book.take(queue.get());
                    queue.task_done();
                }
            } catch (const fiber::queue_shutdown&) {
            }
        });
        fixture.run([&] {
            std::vector<fiber::task<void>> getters, putters;
            for (int i = 0; i < 3; ++i) {
                getters.push_back(fiber::spawn([&] {
                    for (;;) {
                        try {
                            const int number = queue.get();
                            book.take(number);
                            queue.task_done();
                        } catch (const fiber::cancelled&) {
                            fiber::this_fiber::uncancel();
                        } catch (const fiber::queue_shutdown&) {
                            return;
                        }
                    }
                }));
                putters.push_back(fiber::spawn([&] {
                    for (int number = book.next(); number < count; number = book.next()) {
                        queue.put(number);
                        book.give(number);
                    }
                }));
            }
            generator dice(7);
            while (!book.is_over()) {
                getters[dice.below(3)].cancel();
                fiber::sleep_for(std::chrono::microseconds(dice.below(50)));
            }
            fiber::gather(std::move(putters));
            queue.join();
            CHECK(queue.empty());
            queue.shutdown();
            for (auto& getter : getters) getter.wait();
        });
        outside.join();
        book.check();
    });
}

TEST_SUITE_END();
