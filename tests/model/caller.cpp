#include "tests/model/caller.hpp"

#include <array>
#include <utility>

#include "fiber/cancelled.hpp"
#include "fiber/detail/random.hpp"
#include "fiber/duration.hpp"
#include "scheduler/base/futex.hpp"
#include "scheduler/core/ambient.hpp"
#include "scheduler/core/caller.hpp"
#include "scheduler/core/current.hpp"
#include "scheduler/core/scheduler.hpp"

namespace model {

using fiber::engine::commit_verdict;
using fiber::engine::nanos;
using fiber::engine::task_slot;

namespace {

std::array<caller*, detail::most_threads> callers{};

void nothing(task_slot&) noexcept {}
constexpr fiber::engine::task_operations no_payload{nothing, nothing, [](task_slot&, const char*) noexcept {}, nothing,
                                                    nothing};

}  // namespace

caller::caller(kind what) : what(what) {
    fiber::engine::prepare(*this, no_payload, {});
    state.store(in_use | started);
    static std::byte somewhere;
    pool = reinterpret_cast<fiber::engine::task_pool*>(&somewhere);  // a promise has none; not to be followed
}

caller::~caller() {
    for (caller*& each : callers) {
        if (each == this) each = nullptr;
    }
}

caller* caller::current() noexcept {
    const unsigned self = this_thread();
    return self != nobody ? callers[self] : nullptr;
}

void caller::run(const std::function<void()>& body) {
    callers[this_thread()] = this;
    try {
        body();
    } catch (const fiber::cancelled&) {
        ended_cancelled = true;
    }
}

caller& add_caller(scenario& s, kind what, std::string name, std::function<void()> body) {
    auto& made = s.make<caller>(what);
    s.thread(std::move(name), [&made, body = std::move(body)] { made.run(body); });
    return made;
}

caller& interrupt(scenario& s, caller& whom, interruption how) {
    if (how == interruption::none) return whom;
    if (how == interruption::late) return whom.with_timer();
    s.thread("cancels", [&whom, how] {
        whom.cancel();
        if (how == interruption::withdrawn) (void)fiber::engine::uncancel(whom);
    });
    return whom;
}

}  // namespace model

namespace fiber::engine {

using model::caller;

// --- the worker ---

worker* worker::current() noexcept {
    caller* self = caller::current();
    return self != nullptr && self->what == model::kind::fiber ? &self->runs_on : nullptr;
}

void worker::park() noexcept {
    worker& self = *current();
    if (self.task_.park.completed()) return;
    self.parked_ = true;
    if (commit_park(self.task_) == commit_verdict::runnable) {
        self.make_runnable();
    } else if (self.timers_ != nullptr && self.clock_ == clock::own) {
        self.time_may_come();
    }
    self.turn_.pass();
}

// At any moment, and at last when nothing else happens.
void worker::time_may_come() {
    if (model::choose(2) == 1 || !turn_.wait_or_stall()) expire();
}

void worker::make_runnable() {
    model::check(parked_, "made runnable on a stack that is in use, or twice");
    parked_ = false;
    turn_.open();
}

void worker::arm(timer& node, nanos deadline) noexcept { (void)timers_->arm(node, deadline); }
void worker::expire() { (void)timers_->expire(model::some_time); }

void make_runnable(task_slot& task) noexcept { static_cast<caller&>(task).runs_on.make_runnable(); }
task_slot* reuse_promise(std::uint8_t) noexcept { return nullptr; }
void recycle(task_slot&) noexcept { model::fail("nobody has given the task up"); }
// Of what was handed in before the first run. Here everything runs.
bool scheduler::withdraw(task_slot&) noexcept { return false; }
void end_unstarted(task_slot&) noexcept { model::fail("everything was started"); }

// --- what a plain thread has ---

park_state& thread_park_state() noexcept { return caller::current()->thread_park; }

futex_verdict futex_wait(const std::atomic<std::uint32_t>* word, std::uint32_t expected, nanos deadline) {
    caller& self = *caller::current();
    model::check(static_cast<const void*>(word) == self.thread_park.futex_word(), "sleeps on a stranger's word");
    const auto still = [&] { return self.thread_park.futex_value() == expected; };
    if (deadline == never || self.was_late) {
        self.futex.sleep_while(still);
        return futex_verdict::woken;
    }
    self.was_late = model::choose(2) == 1 || !self.futex.sleep_while_or_stalled(still);
    return self.was_late ? futex_verdict::timed_out : futex_verdict::woken;
}

void futex_wake(const std::atomic<std::uint32_t>* word, int) {
    for (caller* each : model::callers) {
        if (each != nullptr && each->thread_park.futex_word() == word) each->futex.wake();
    }
}

}  // namespace fiber::engine

namespace fiber::detail {

engine::nanos current_time() noexcept { return 0; }
std::size_t random_below(std::size_t limit) noexcept { return model::choose(static_cast<unsigned>(limit)); }

}  // namespace fiber::detail
