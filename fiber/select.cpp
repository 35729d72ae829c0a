// How a select takes exactly one case: it holds the locks of all its channels, in the order of their addresses, while
// it looks at them and while it leaves its entries. So no channel can become ready between look and entry, and it meets
// no entry of its own. All its entries name one waiter, so the first partner to claim that takes the case; the others
// fail to claim and go on. Before the select returns it visits the others' channels once more and takes its entries
// back.
#include "fiber/select.hpp"

#include <functional>

#include "fiber/detail/random.hpp"
#include "scheduler/base/check.hpp"

namespace fiber::detail {

namespace {

// The locks of several channels, each once, and who was claimed under them. `cases` is sorted by address.
class channel_locks {
 public:
    channel_locks(select_case* const* cases, std::size_t count) noexcept : cases_(cases), count_(count) {
        for (std::size_t i = 0; i < count; ++i) {
            if (is_first(i)) cases[i]->core->lock().lock();
        }
    }
    ~channel_locks() {
        for (std::size_t i = count_; i-- != 0;) {
            if (is_first(i)) cases_[i]->core->lock().unlock();
        }
        woken.complete_all();
    }
    channel_locks(const channel_locks&) = delete;
    channel_locks& operator=(const channel_locks&) = delete;

    engine::wake_list woken;

 private:
    bool is_first(std::size_t i) const noexcept { return i == 0 || cases_[i]->core != cases_[i - 1]->core; }

    select_case* const* const cases_;
    const std::size_t count_;
};

void sort_by_channel(select_case* const* cases, select_case** sorted, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        std::size_t at = i;
        for (; at != 0 && std::less<>()(cases[i]->core, sorted[at - 1]->core); --at) sorted[at] = sorted[at - 1];
        sorted[at] = cases[i];
    }
}

// Under all locks. nullptr: none is ready.
select_case* take_ready(select_case* const* cases, std::size_t count, engine::wake_list& woken) {
    if (count == 0) return nullptr;
    const std::size_t first = random_below(count);  // so that no case is preferred
    for (std::size_t i = 0; i < count; ++i) {
        select_case* each = cases[first + i < count ? first + i : first + i - count];
        each->outcome = each->attempt_locked(*each, woken);
        if (each->outcome != hand_over_verdict::blocked) return each;
    }
    return nullptr;
}

void leave_entries(select_case* const* cases, std::size_t count, engine::waiter& who) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        cases[i]->entry.who = &who;
        cases[i]->list->push_back(cases[i]->entry);
    }
}

// But for that of `taken`: its partner has taken the entry, and may have destroyed the channel since.
void take_entries_back(select_case* const* sorted, std::size_t count, const select_case* taken) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        if (sorted[i] == taken) continue;
        const hand_over_section here(sorted[i]->core->lock());
        if (sorted[i]->entry.linked()) sorted[i]->entry.unlink();
    }
}

// The case that a partner has claimed. Requires: it was one of them.
select_case& case_of(void* entry, select_case* const* cases) noexcept {
    while (&(*cases)->entry != entry) ++cases;
    return **cases;
}

}  // namespace

select_case* select_one(select_case* const* cases, select_case** by_address, std::size_t count, select_mode mode,
                        engine::nanos deadline) {
    cancellation_point();
    sort_by_channel(cases, by_address, count);
    for (;;) {
        engine::waiter self;
        {
            channel_locks here(by_address, count);
            select_case* ready = take_ready(cases, count, here.woken);
            if (ready != nullptr || mode == select_mode::poll) return ready;
            self.begin(engine::interruptible::yes);
            leave_entries(cases, count, self);
        }
        const engine::wake_reason reason = self.wait(deadline);
        select_case* taken = reason == engine::wake_reason::notified ? &case_of(self.handed, cases) : nullptr;
        take_entries_back(by_address, count, taken);
        if (reason == engine::wake_reason::timed_out) return nullptr;
        if (taken == nullptr) {
            cancellation_point();  // returns if the cancellation was taken back meanwhile
            continue;
        }
        taken->outcome = taken->entry.outcome;
        if (taken->outcome != hand_over_verdict::repeat) return taken;
    }
}

void throw_empty_select() { throw usage_error("fiber: select() without a case would wait for nothing"); }
void throw_pushed_to_closed() {
    throw channel_closed("fiber: select() took an on_push whose channel is closed, and whose callable takes no bool");
}

}  // namespace fiber::detail
