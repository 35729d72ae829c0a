// What a callable may hold: something whose destructor waits, on a fiber, and must not be interrupted there;
// and who has to let it.
#pragma once

#include "tests/api/fixture.hpp"

namespace fiber::test {

class waits_at_its_end {
 public:
    // Waits for `over`; sets `waiting` before.
    explicit waits_at_its_end(event& over, std::atomic<bool>* waiting = nullptr) : over_(&over), waiting_(waiting) {}
    waits_at_its_end(waits_at_its_end&& other) noexcept
        : over_(std::exchange(other.over_, nullptr)), waiting_(other.waiting_) {}
    ~waits_at_its_end() {
        if (over_ == nullptr) return;
        if (waiting_ != nullptr) *waiting_ = true;
        over_->wait();
    }

 private:
    tracked held_;
    event* over_;
    std::atomic<bool>* waiting_;
};

// Sets `over` as soon as somebody waits for it.
inline task<void> let_go(event& over, std::atomic<bool>& waiting) {
    return spawn([&] {
        CHECK(yield_until([&] { return waiting.load(); }));
        over.set();
    });
}

// give_up(callable), on a fiber that it cancels itself, is to destroy the callable there, whose end waits all the same.
void destroys_though_cancelled(auto give_up) {
    event over;
    std::atomic<bool> waiting{false};
    auto lets_go = let_go(over, waiting);
    auto owner = spawn([&] { give_up([held = waits_at_its_end(over, &waiting)] { FAIL("ran"); }); });
    owner.wait();
    CHECK(owner.cancelled());
    CHECK(tracked::live() == 0);
    lets_go.get();
}

}  // namespace fiber::test
