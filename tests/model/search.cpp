// The search: which execution comes next. Stateless, depth first: a path of decisions is kept, and each execution
// follows it from the start, changes its last open decision, and goes on from there.
#include <bit>
#include <sstream>
#include <unordered_map>

#include "tests/model/execution.hpp"
#include "tests/model/explorer.hpp"

namespace model {

namespace {

// One decision: which step is taken in a state, or which alternative a choose() gets.
struct decision {
    bool is_choice = false;
    unsigned taken = 0;
    unsigned alternatives = 0;  // of a choice
    step_set open = 0;          // steps still to be explored from here
    step_set asleep = 0;        // steps whose order against the path's is explored elsewhere
    unsigned preemptions = 0;   // on the path up to here
};

class search final : public chooser {
 public:
    search(const options& how, const std::function<void(scenario&)>& setup) : how_(how), setup_(setup) {}

    report explore();
    report replay(const std::string& schedule);

    unsigned choose(unsigned alternatives) override;

 private:
    bool bounded() const noexcept { return how_.most_preemptions != unlimited; }

    void run_once(execution& run);
    bool decide(const execution& run, step_set enabled, step_set asleep);
    step_set within_bound(step_set open, step_set enabled) const;
    unsigned preemptions_of(step which, step_set enabled) const;
    step_set not_explored_yet(const execution& run, step_set enabled, step_set& asleep);
    bool backtrack();

    report failure_of(const execution& run, report so_far) const;
    std::string schedule() const;
    void follow(const std::string& schedule);

    const options how_;
    const std::function<void(scenario&)>& setup_;
    runner_pool runners_;
    std::vector<decision> path_;
    std::size_t position_ = 0;  // of the running execution on the path
    unsigned last_thread_ = 0;
    unsigned preemptions_ = 0;
    std::unordered_map<std::uint64_t, step_set> seen_;  // state -> steps that were asleep there
};

// Returns when the execution has ended, failed, or come to nothing new.
void search::run_once(execution& run) {
    position_ = 0;
    last_thread_ = 0;
    preemptions_ = 0;
    step_set asleep = 0;
    run.set_up(setup_);
    for (std::size_t steps = 0; !run.failed(); ++steps) {
        const step_set enabled = run.enabled();
        if (enabled == 0) {
            if (!run.all_ended()) return run.set_failure("deadlock: nobody wakes " + run.blocked_threads());
            return run.finish();
        }
        if (steps == how_.most_steps) return run.set_failure("livelock: too many steps");
        if (position_ == path_.size() && !decide(run, enabled, asleep)) return run.drain();
        const decision& here = path_[position_++];
        preemptions_ += preemptions_of(here.taken, enabled);
        if (!is_flush(here.taken)) last_thread_ = thread_of(here.taken);
        asleep = run.independent_of(here.taken, here.asleep);
        run.take(here.taken);
    }
}

// Adds a decision to the path; false when every step from this state is explored already.
bool search::decide(const execution& run, step_set enabled, step_set asleep) {
    decision made;
    if (bounded() || !how_.prune) asleep = 0;  // a bound cuts off the other order that a sleeping step relies on
    made.open = within_bound(not_explored_yet(run, enabled, asleep), enabled);
    if (made.open == 0) return false;
    made.asleep = asleep;
    made.preemptions = preemptions_;
    const step going_on = last_thread_ * steps_per_thread;
    made.taken = (made.open & bit(going_on)) ? going_on : static_cast<step>(std::countr_zero(made.open));
    made.open &= ~bit(made.taken);
    path_.push_back(made);
    return true;
}

// Godefroid's rule for sleep sets with states seen before: on a later visit only those steps are explored that were
// asleep on every earlier one and are not now.
step_set search::not_explored_yet(const execution& run, step_set enabled, step_set& asleep) {
    if (!how_.prune) return enabled;
    std::uint64_t key = run.state();
    if (bounded()) key = mix(mix(key, last_thread_), preemptions_);
    const auto [entry, first_visit] = seen_.try_emplace(key, asleep);
    if (first_visit) return enabled & ~asleep;
    const step_set before = entry->second;
    const step_set open = before & ~asleep;
    entry->second = asleep = before & asleep;
    return open;
}

// A preemption: another thread runs although the last one could go on. A buffer that empties is none.
unsigned search::preemptions_of(step which, step_set enabled) const {
    const bool last_could_go_on = (enabled & bit(last_thread_ * steps_per_thread)) != 0;
    return !is_flush(which) && thread_of(which) != last_thread_ && last_could_go_on;
}

step_set search::within_bound(step_set open, step_set enabled) const {
    if (!bounded() || preemptions_ < how_.most_preemptions) return open;
    step_set allowed = 0;
    for (; open != 0; open &= open - 1) {
        const step each = static_cast<step>(std::countr_zero(open));
        if (!preemptions_of(each, enabled)) allowed |= bit(each);
    }
    return allowed;
}

unsigned search::choose(unsigned alternatives) {
    if (position_ == path_.size()) {
        decision made;
        made.is_choice = true;
        made.alternatives = alternatives;
        path_.push_back(made);
    }
    return path_[position_++].taken;
}

// Turns the last decision that has something open; false when there is none left.
bool search::backtrack() {
    for (; !path_.empty(); path_.pop_back()) {
        decision& last = path_.back();
        if (last.is_choice) {
            if (++last.taken < last.alternatives) return true;
        } else {
            last.asleep |= bit(last.taken);
            if (last.open == 0) continue;
            last.taken = static_cast<step>(std::countr_zero(last.open));
            last.open &= ~bit(last.taken);
            return true;
        }
    }
    return false;
}

report search::explore() {
    report result;
    do {
        if (result.executions == how_.most_executions) return result;
        ++result.executions;
        execution run(how_, runners_, *this, false);
        run_once(run);
        result.states = seen_.size();
        if (run.failed()) {
            path_.resize(position_);
            return failure_of(run, result);
        }
    } while (backtrack());
    result.verdict = verdict::passed;
    return result;
}

report search::failure_of(const execution& run, report so_far) const {
    so_far.verdict = verdict::failed;
    so_far.failure = run.failure();
    so_far.schedule = schedule();
    return so_far;
}

report search::replay(const std::string& schedule) {
    follow(schedule);
    report result;
    result.executions = 1;
    execution run(how_, runners_, *this, true);
    run_once(run);
    result.verdict = verdict::passed;
    if (run.failed()) result = failure_of(run, result);
    result.trace = run.trace();
    return result;
}

// "2" thread 2 goes on; "2.5" slot 5 of its buffer reaches memory; "=1" choose() returns 1.
std::string search::schedule() const {
    std::ostringstream text;
    for (const decision& each : path_) {
        if (&each != path_.data()) text << ' ';
        if (each.is_choice) {
            text << '=' << each.taken;
        } else {
            text << thread_of(each.taken);
            if (is_flush(each.taken)) text << '.' << each.taken % steps_per_thread;
        }
    }
    return text.str();
}

void search::follow(const std::string& schedule) {
    std::istringstream text(schedule);
    for (std::string word; text >> word;) {
        decision made;
        made.is_choice = word.front() == '=';
        if (made.is_choice) {
            made.taken = static_cast<unsigned>(std::stoul(word.substr(1)));
        } else {
            const std::size_t dot = word.find('.');
            made.taken = static_cast<unsigned>(std::stoul(word)) * steps_per_thread;
            if (dot != std::string::npos) made.taken += static_cast<unsigned>(std::stoul(word.substr(dot + 1)));
        }
        path_.push_back(made);
    }
}

}  // namespace

std::string report::text() const {
    std::ostringstream out;
    constexpr const char* names[] = {"passed", "FAILED", "gave up"};
    out << names[static_cast<int>(verdict)] << " after " << executions << " executions, " << states << " states";
    if (!failure.empty()) out << "\n" << failure << "\nschedule: " << schedule << "\n" << trace;
    return out.str();
}

report explore(const options& how, const std::function<void(scenario&)>& setup) {
    report result = search(how, setup).explore();
    if (result.failed()) result.trace = replay(how, result.schedule, setup).trace;
    return result;
}

report replay(const options& how, const std::string& schedule, const std::function<void(scenario&)>& setup) {
    return search(how, setup).replay(schedule);
}

// --- what model::atomic and its like call ----------------------------------------------------------------------------

namespace detail {

void cell::enter() noexcept {
    if (running != nullptr) running->adopt(*this);
}
cell::~cell() {
    if (running != nullptr) running->end(*this);
}
void cell::initialize(std::uint64_t value) noexcept {
    if (running != nullptr) running->initialize(*this, value);
}
void access_log::enter() noexcept {
    if (running != nullptr) running->adopt(*this);
}
access_log::~access_log() {
    if (running != nullptr) running->drop(contribution);
}

std::uint64_t load(const cell& from, std::memory_order order) { return running->load(from, order); }
void store(cell& to, std::uint64_t bits, std::memory_order order) { running->store(to, bits, order); }
std::uint64_t begin_update(cell& at) { return running->begin_update(at); }
void end_update(cell& at, std::uint64_t bits, std::memory_order order) { running->end_update(at, bits, order); }
void end_failed_update(cell& at, std::memory_order order) { running->end_failed_update(at, order); }
void lock(cell& at) { running->lock(at); }
void wait_until(const std::function<bool()>& condition) { running->wait_until(condition); }
void wait_for_empty_buffers() { running->wait_for_empty_buffers(); }
bool wait_until_or_stalled(const std::function<bool()>& condition) { return running->wait_until_or_stalled(condition); }
std::uint64_t atomically(const std::function<std::uint64_t()>& action) { return running->atomically(action); }
void note_read(access_log& log) { running->note_read(log); }
void note_write(access_log& log) {
    if (running != nullptr) running->note_write(log);
}

}  // namespace detail

unsigned choose(unsigned alternatives) { return running->choose(alternatives); }
void forget_all_but(std::uint64_t local) { running->forget_all_but(local); }
// Teardown meets what failed or unfinished executions leave behind.
void check_invariant(bool holds, const char* condition) {
    if (!holds && this_thread() != nobody) fail(condition);
}

unsigned this_thread() noexcept { return running != nullptr ? running->this_thread() : nobody; }
void fail(const char* what) { running->fail(what); }

}  // namespace model
