// Who may touch a condition_variable after it has notified: it may be destroyed as soon as all were notified.
//   told by notify_all while parked: the waiter does not look at it again.
//   told by notify_one, told before it parked, or taken out after it had timed out or was cancelled: the waiter looks
//   at it once more, in leave(). It counts as returning, and the destructor waits for it. It holds no lock of the
//   user's then, and waits for none.
#include "fiber/condition_variable.hpp"

#include "fiber/this_fiber.hpp"

namespace fiber {

condition_variable::~condition_variable() {
    notify_all();  // nobody who has to be told, only those who have timed out and not left yet
    (void)word_.lock();
    if (returning_ == 0) return;
    engine::waiter self;
    self.begin(engine::interruptible::no);
    destroyer_ = &self;
    unlock();
    (void)self.wait();
}

// Claims the first to be told, or leaves it the notice if it has not begun to park. Requires: word_ is held.
// Returns whom to complete after unlocking; nullptr: nobody.
engine::waiter* condition_variable::tell_one_locked() noexcept {
    while (visit* first = queue_.pop_front()) {
        ++returning_;
        if (!first->parking_) {
            first->told_ = visit::notice::one;
            return nullptr;
        }
        if (first->claim(engine::wake_reason::notified)) {
            first->told_ = visit::notice::one;
            return first;
        }
    }
    return nullptr;
}

void condition_variable::notify_one_slowly() noexcept {
    (void)word_.lock();
    engine::waiter* told = tell_one_locked();
    unlock();
    if (told != nullptr) told->complete();
}

void condition_variable::notify_all_slowly() noexcept {
    engine::wake_list woken;
    (void)word_.lock();
    while (visit* first = queue_.pop_front()) {
        if (first->parking_ && first->claim(engine::wake_reason::notified)) {
            first->told_ = visit::notice::all;
            woken.push_back(*first);
        } else {
            if (!first->parking_) first->told_ = visit::notice::all;
            ++returning_;
        }
    }
    unlock();
    woken.complete_all();
}

condition_variable::visit::visit(condition_variable& at) : at_(at) {
    this_fiber::check_cancelled();
    (void)at_.word_.lock();
    at_.queue_.push_back(*this);
    at_.unlock();
}

bool condition_variable::visit::wait_until(engine::nanos deadline) {
    const bool timed_out = !is_over(deadline);
    try {
        this_fiber::check_cancelled();
    } catch (...) {
        if (inside_) leave(false);  // before the caller's lock is acquired: it may be the destroyer's
        throw;
    }
    if (inside_) leave(true);
    return !timed_out;
}

// Parks unless it has been told already. false: the deadline came.
bool condition_variable::visit::is_over(engine::nanos deadline) noexcept {
    (void)at_.word_.lock();
    const bool told_before = !linked();
    if (!told_before) {
        begin(engine::interruptible::yes);
        parking_ = true;
    }
    at_.unlock();
    if (told_before) return true;
    const engine::wake_reason reason = wait(deadline);
    inside_ = reason != engine::wake_reason::notified || told_ != notice::all;
    return reason != engine::wake_reason::timed_out;
}

// The last look at the condition_variable. A notice that was not taken goes to the next.
void condition_variable::visit::leave(bool took_notice) noexcept {
    inside_ = false;
    condition_variable& at = at_;
    engine::waiter* next = nullptr;
    engine::waiter* destroyer = nullptr;
    (void)at.word_.lock();
    if (linked()) {
        unlink();
    } else {
        --at.returning_;
    }
    if (!took_notice && told_ == notice::one) next = at.tell_one_locked();
    if (at.returning_ == 0 && at.destroyer_ != nullptr && at.destroyer_->claim(engine::wake_reason::notified)) {
        destroyer = at.destroyer_;
    }
    at.unlock();
    if (next != nullptr) next->complete();
    if (destroyer != nullptr) destroyer->complete();
}

}  // namespace fiber
