#include "fiber/event.hpp"

#include "fiber/detail/blocking.hpp"

namespace fiber {

void event::set() noexcept {
    engine::wake_list woken;
    if (word_.lock() == 0) waiters_.claim_all_locked(woken);
    word_.unlock(flag);
    woken.complete_all();
}

void event::clear() noexcept {
    (void)word_.lock();
    word_.unlock(0);
}

bool event::wait_until_nanos(engine::nanos deadline) {
    return detail::wait_for_state(word_, waiters_, deadline, [](std::uint64_t state) { return (state & flag) != 0; });
}

}  // namespace fiber
