// Cancellation as it goes down a chain of tasks, step by step, on slots that nobody runs.
//
// The story. cancel() first counts the request, at the task and at each one further down that it waits for, and then
// delivers it to the last of them. Between the two that last one could finish: it took nothing any more, the one that
// had waited for it went on as if nobody had asked, and whoever had cancelled it, a parent on its way out, say, waited
// for it for ever. At the top of the chain the same: cancel() said true, and the task ended with a value. And once the
// request was passed down from the top again, all were counted twice, whereupon a time limit took its own
// cancellation for one from outside.
//
// The moment between count and delivery is reached through the forwarder of the last task: cancel() asks it behind the
// count, and it has no children, but before it says so the world has changed.
#include <doctest/doctest.h>
#include <functional>
#include <vector>

#include "scheduler/core/lifecycle.hpp"

using namespace fiber::engine;

namespace {

// A task in the middle of a wait, as far as cancel() can see.
class fake_task {
 public:
    fake_task() { slot_.state = task_slot::in_use | task_slot::started; }
    ~fake_task() { delete slot_.extras; }

    void awaits(fake_task& other) { slot_.awaiting = reinterpret_cast<std::uintptr_t>(&other.slot_); }
    void awaits_nothing() { slot_.awaiting = 0; }
    // Its wait is over, and so is it.
    void finish() {
        awaits_nothing();
        slot_.state |= task_slot::finished | task_slot::runner_gone;
    }
    // Its slot serves another task by now.
    void is_followed_by_another() {
        slot_.retire();
        slot_.state |= task_slot::in_use | task_slot::started;
    }

    bool cancel() { return cancel_generation(slot_, slot_.generation(), "why"); }
    bool pending() const { return slot_.is(task_slot::cancel_pending); }
    unsigned count() const { return cancelling(slot_); }
    task_slot& slot() { return slot_; }

 private:
    task_slot slot_;
};

// While it stands, what happens between the count and the delivery at `last`.
class in_between : cancel_forwarder {
 public:
    in_between(fake_task& last, std::function<void()> happens)
        : cancel_forwarder{
              nullptr, 0,
              [](cancel_forwarder& self, const char*) noexcept { static_cast<in_between&>(self).happens_(); },
              [](cancel_forwarder&) noexcept {}},
          happens_(std::move(happens)) {
        set_forwarder(last.slot(), this);
    }

 private:
    std::function<void()> happens_;
};

}  // namespace

TEST_CASE("a cancel that nothing disturbs counts at each task of the chain, and is delivered to the last") {
    fake_task top;
    fake_task middle;
    fake_task last;
    top.awaits(middle);
    middle.awaits(last);
    CHECK(top.cancel());
    CHECK(last.pending());
    CHECK(cancel_message(last.slot()) == "why");
    CHECK_FALSE(middle.pending());
    CHECK_FALSE(top.pending());
    for (const auto* each : {&top, &middle, &last}) CHECK(each->count() == 1);
    last.finish();
    CHECK_FALSE(last.cancel());
}

TEST_CASE("the task itself finishes before the delivery: cancel is false and not counted") {
    fake_task top;
    const in_between end(top, [&] { top.finish(); });
    CHECK_FALSE(top.cancel());
    CHECK_FALSE(top.pending());
    CHECK(top.count() == 0);
}

TEST_CASE("the last of the chain finishes before the delivery: the one who waited for it gets it") {
    fake_task top;
    fake_task middle;
    fake_task last;
    top.awaits(middle);
    middle.awaits(last);
    SUBCASE("and has gone on") {
        const in_between end(last, [&] {
            last.finish();
            middle.awaits_nothing();
        });
        CHECK(top.cancel());
    }
    SUBCASE("and is about to") {
        const in_between end(last, [&] { last.finish(); });
        CHECK(top.cancel());
    }
    SUBCASE("and the slot of the last serves another task, which nobody has cancelled") {
        const in_between end(last, [&] {
            middle.awaits_nothing();
            last.finish();
            last.is_followed_by_another();
        });
        CHECK(top.cancel());
        CHECK(last.count() == 0);
    }
    CHECK(middle.pending());
    CHECK_FALSE(last.pending());
    CHECK_FALSE(top.pending());
    CHECK(middle.count() == 1);
    CHECK(top.count() == 1);
}

TEST_CASE("the one who waited for the last waits for another by then: that one gets it") {
    fake_task top;
    fake_task middle;
    fake_task last;
    fake_task other;
    top.awaits(middle);
    middle.awaits(last);
    const in_between end(last, [&] {
        last.finish();
        middle.awaits(other);
    });
    CHECK(top.cancel());
    CHECK(other.pending());
    CHECK_FALSE(middle.pending());
    for (const auto* each : {&top, &middle, &other}) CHECK(each->count() == 1);
}

TEST_CASE("all of a long chain finish before the delivery but for the top") {
    for (const std::size_t length : {1, 2, 15, 16, 17, 18, 100}) {
        fake_task top;
        std::vector<fake_task> chain(length);
        top.awaits(chain.front());
        for (std::size_t i = 0; i + 1 < length; ++i) chain[i].awaits(chain[i + 1]);
        const in_between end(chain.back(), [&] {
            for (auto& each : chain) each.finish();
            top.awaits_nothing();
        });
        CHECK(top.cancel());
        CHECK(top.pending());
        CHECK(top.count() == 1);
    }
}

TEST_CASE("all of a chain finish before the delivery: cancel is false") {
    for (const std::size_t length : {1, 2, 17, 100}) {
        std::vector<fake_task> chain(length);
        for (std::size_t i = 0; i + 1 < length; ++i) chain[i].awaits(chain[i + 1]);
        const in_between end(chain.back(), [&] {
            for (auto& each : chain) each.finish();
        });
        CHECK_FALSE(chain.front().cancel());
        CHECK(chain.front().count() == 0);
    }
}

TEST_CASE("listeners are told behind the delivery, each once") {
    struct counting : cancel_listener {
        explicit counting(fake_task& last) : last(last) {}
        void on_cancel() noexcept override {
            ++calls;
            after_delivery = last.pending();
        }
        fake_task& last;
        int calls = 0;
        bool after_delivery = false;
    };
    fake_task top;
    fake_task last;
    top.awaits(last);
    std::vector<std::shared_ptr<counting>> listeners;
    for (auto* each : {&top, &last}) {
        listeners.push_back(std::make_shared<counting>(last));
        CHECK(replace_cancel_listener(each->slot(), nullptr, listeners.back()));
    }
    CHECK(top.cancel());
    CHECK(top.cancel());
    for (const auto& each : listeners) {
        CHECK(each->calls == 1);
        CHECK(each->after_delivery);
    }
}
