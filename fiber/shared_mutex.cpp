#include "fiber/shared_mutex.hpp"

#include "fiber/detail/blocking.hpp"

namespace fiber {

namespace {
void* as_handed(engine::caller_tag tag) noexcept { return reinterpret_cast<void*>(tag); }
}  // namespace

bool shared_mutex::lock_slowly(engine::caller_tag me, engine::nanos deadline) {
    const bool expired = detail::has_passed(deadline);
    engine::word_holder held{word_, word_.lock()};
    if (held.state == 0) {
        word_.unlock(me);
        return true;
    }
    if (!(held.state & shared) && engine::same_caller(held.state, me)) {
        held.unlock();
        detail::throw_would_deadlock("fiber: a shared_mutex was locked again by its owner");
    }
    if (expired) {
        held.unlock();
        return false;
    }
    return wait_in_queue(held, as_handed(me), deadline);
}

bool shared_mutex::lock_shared_slowly(engine::nanos deadline) {
    const bool expired = detail::has_passed(deadline);
    engine::word_holder held{word_, word_.lock()};
    if (held.state == 0 || (held.state & (shared | contended)) == shared) {
        word_.unlock((held.state | shared) + one_reader);
        return true;
    }
    if (!(held.state & shared) && engine::same_caller(held.state, engine::current_caller())) {
        held.unlock();
        detail::throw_would_deadlock("fiber: a shared_mutex was locked shared by its owner");
    }
    if (expired) {
        held.unlock();
        return false;
    }
    return wait_in_queue(held, nullptr, deadline);
}

// A writer that gives up may have kept readers behind it from joining those that are in.
bool shared_mutex::wait_in_queue(engine::word_holder& held, void* as, engine::nanos deadline) {
    held.state |= contended;
    const bool reader = as == nullptr;
    if (waiters_.wait_and_unlock(held, deadline, engine::interruptible::no, &as) == engine::wait_verdict::notified) {
        return true;
    }
    if (!reader) admit_and_unlock(word_.lock());
    return false;
}

void shared_mutex::unlock_slowly(engine::caller_tag me) {
    const std::uint64_t state = word_.lock();
    if ((state & shared) || !engine::same_caller(state, me)) {
        word_.unlock(state);
        detail::throw_not_the_owner("fiber: a shared_mutex was unlocked by a caller that does not hold it");
    }
    admit_and_unlock(0);
}

void shared_mutex::unlock_shared_slowly() {
    const std::uint64_t state = word_.lock();
    if (!(state & shared)) {
        word_.unlock(state);
        detail::throw_not_the_owner("fiber: a shared_mutex was unlocked shared, and has no reader");
    }
    admit_and_unlock(without_one_reader(state));
}

// Lets in from the front of the queue whoever the state allows: one writer when it is free, readers up to the next
// writer when there is none inside. Requires: word_ is held. Releases it.
void shared_mutex::admit_and_unlock(std::uint64_t state) noexcept {
    engine::wake_list admitted;
    state &= ~contended;
    while (engine::waiter* first = waiters_.first_locked()) {
        const auto writer = reinterpret_cast<engine::caller_tag>(first->handed);
        const bool may_enter = state == 0 || (writer == 0 && (state & shared));
        if (!may_enter) break;
        if (!waiters_.claim_locked(*first)) continue;
        admitted.push_back(*first);
        state = writer != 0 ? writer : (state | shared) + one_reader;
    }
    word_.unlock(state | (waiters_.empty() ? 0 : contended));
    admitted.complete_all();
}

}  // namespace fiber
