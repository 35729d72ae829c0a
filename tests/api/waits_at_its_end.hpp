// What a callable may hold: something whose destructor waits, on a fiber, and must not be interrupted there.
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

}  // namespace fiber::test
