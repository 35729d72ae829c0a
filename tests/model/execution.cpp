#include "tests/model/execution.hpp"

#include <algorithm>
#include <bit>

namespace model {

using detail::cell;

execution* running = nullptr;

// --- life of an execution --------------------------------------------------------------------------------------------

execution::execution(const options& how, runner_pool& runners, chooser& choices, bool tracing)
    : how_(how), runners_(runners), choices_(choices), tracing_(tracing) {
    running = this;
}

execution::~execution() {
    for (virtual_thread& thread : threads_) {
        if (!thread.runner->ended()) thread.runner->abandon();
    }
    scenario_.finally_ = nullptr;
    while (!scenario_.objects_.empty()) scenario_.objects_.pop_back();
    running = nullptr;
}

void execution::set_up(const std::function<void(scenario&)>& setup) {
    setup(scenario_);
    if (scenario_.threads_.size() > detail::most_threads) return set_failure("too many threads");
    threads_.resize(scenario_.threads_.size());
    for (unsigned i = 0; i < threads_.size(); ++i) {
        virtual_thread& thread = threads_[i];
        thread.name = scenario_.threads_[i].name;
        thread.number = i;
        thread.history = i;
        thread.clock[i] = 1;
        thread.runner = &runners_[i];
        thread.runner->begin(&scenario_.threads_[i].body);
    }
}

void execution::finish() {
    if (!scenario_.finally_) return;
    try {
        scenario_.finally_();
    } catch (const failed_outside_threads&) {
    }
}

// What is left of this execution is explored elsewhere, failures included. Whoever blocks for good is abandoned.
void execution::drain() {
    draining_ = true;
    for (bool progress = true; progress && !failed() && drained_ < how_.most_steps;) {
        progress = false;
        for (virtual_thread& thread : threads_) {
            flush_all(thread);
            if (failed() || !can_run(thread)) continue;
            take(thread.number * steps_per_thread);
            progress = true;
        }
    }
    failure_.clear();
}

void execution::set_failure(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
}

void execution::fail(const char* what) {
    set_failure(what);
    stop();
}

// What stands on the virtual thread's stack is not destroyed: nothing there may own memory.
void execution::stop() {
    if (current_ == nullptr) throw failed_outside_threads{};
    current_->runner->leave();  // for good
}

bool execution::all_ended() const noexcept {
    return std::all_of(threads_.begin(), threads_.end(), [](const auto& each) { return each.runner->ended(); });
}

std::string execution::blocked_threads() const {
    std::string names;
    for (const virtual_thread& thread : threads_) {
        if (thread.runner->ended()) continue;
        names += names.empty() ? "" : ", ";
        names += thread.name + (thread.pending == operation::lock ? " (for a lock)" : "");
    }
    return names;
}

// --- steps -----------------------------------------------------------------------------------------------------------

bool execution::can_run(const virtual_thread& thread) const {
    if (thread.runner->ended()) return false;
    switch (thread.pending) {
        case operation::start:
        case operation::load:
            return true;
        case operation::buffered_store:
            return thread.buffer.empty() || thread.next_sequence - thread.buffer.front().sequence < buffer_slots;
        case operation::strong_store:
        case operation::update:
        case operation::atomically:
            return thread.buffer.empty();
        case operation::lock:
            return thread.buffer.empty() && thread.where->bits == 0;
        case operation::wait:
        case operation::wait_or_stall:
            return (*thread.condition)();
        case operation::wait_for_empty_buffers:
            return std::all_of(threads_.begin(), threads_.end(), [](const auto& each) { return each.buffer.empty(); });
    }
    return false;
}

// A store may overtake older ones to other places (pso), but a release store overtakes none.
step_set execution::flushable(const virtual_thread& thread) const noexcept {
    step_set found = 0;
    for (auto entry = thread.buffer.begin(); entry != thread.buffer.end(); ++entry) {
        const bool oldest = entry == thread.buffer.begin();
        const bool same_place_before =
            std::any_of(thread.buffer.begin(), entry, [entry](const buffered& older) { return older.to == entry->to; });
        if (oldest || (how_.stores == memory::pso && !entry->release && !same_place_before)) {
            found |= bit(thread.number * steps_per_thread + 1 + entry->slot());
        }
    }
    return found;
}

step_set execution::enabled() const {
    step_set found = 0;
    for (const virtual_thread& thread : threads_) {
        if (can_run(thread)) found |= bit(thread.number * steps_per_thread);
        if (!thread.buffer.empty()) found |= flushable(thread);
    }
    return found != 0 ? found : stalled();
}

// When nobody else can go on, those who wait for no longer than that.
step_set execution::stalled() const {
    step_set found = 0;
    for (const virtual_thread& thread : threads_) {
        if (!thread.runner->ended() && thread.pending == operation::wait_or_stall)
            found |= bit(thread.number * steps_per_thread);
    }
    return found;
}

void execution::take(step which) {
    virtual_thread& thread = threads_[thread_of(which)];
    if (is_flush(which)) return flush(thread, which % steps_per_thread - 1);
    current_ = &thread;
    observe(1);  // that it went on, whatever it meets
    thread.runner->resume();
    current_ = nullptr;
    if (!thread.runner->exception().empty()) set_failure(thread.runner->exception());
    if (tracing_ && thread.runner->ended()) note(thread, "ends", nullptr, "");
}

void execution::flush(virtual_thread& thread, unsigned slot) {
    const auto entry = std::find_if(thread.buffer.begin(), thread.buffer.end(),
                                    [slot](const buffered& each) { return each.slot() == slot; });
    if (tracing_) note(thread, "  (reaches memory)", entry->to, show(*entry->to, entry->bits));
    write(*entry->to, entry->bits, entry->content, entry->released);
    thread.buffer.erase(entry);
}

void execution::flush_all(virtual_thread& thread) {
    while (!thread.buffer.empty()) flush(thread, thread.buffer.front().slot());
}

execution::effect execution::effect_of(step which) const noexcept {
    const virtual_thread& thread = threads_[thread_of(which)];
    if (is_flush(which)) {
        const unsigned slot = which % steps_per_thread - 1;
        for (const buffered& each : thread.buffer) {
            if (each.slot() == slot) return {.where = each.to, .writes = true};
        }
    }
    switch (thread.pending) {
        case operation::start:
            return {};
        case operation::buffered_store:
            return {.fills_buffer = true};
        case operation::load:
            return {.where = thread.where};
        case operation::strong_store:
        case operation::update:
        case operation::lock:
            return {.where = thread.where, .writes = true};
        case operation::wait_for_empty_buffers:
            return {.everything = true, .needs_empty_buffers = true};
        case operation::wait:
        case operation::wait_or_stall:
        case operation::atomically:
            break;
    }
    return {.everything = true};
}

step_set execution::independent_of(step taken, step_set sleeping) const {
    if (sleeping == 0) return 0;
    const effect mine = effect_of(taken);
    step_set kept = 0;
    for (; sleeping != 0; sleeping &= sleeping - 1) {
        const step each = static_cast<step>(std::countr_zero(sleeping));
        if (thread_of(each) == thread_of(taken)) continue;
        if (mine.commutes_with(effect_of(each))) kept |= bit(each);
    }
    return kept;
}

std::uint64_t execution::state() const {
    std::uint64_t hash = memory_hash_;
    for (const virtual_thread& thread : threads_) {
        hash = mix(hash, thread.history);
        hash = mix(hash, hash_of(thread.clock));
        for (const buffered& each : thread.buffer) hash = mix(hash, mix(mix(each.to->id, each.content), each.slot()));
        hash = mix(hash, thread.buffer.size() * 2 + thread.runner->ended());
    }
    return scenario_.describe_guarded_ ? mix(hash, scenario_.describe_guarded_()) : hash;
}

// --- the trace -------------------------------------------------------------------------------------------------------

void execution::note(const virtual_thread& thread, const char* what, const cell* where, const std::string& value) {
    trace_ += "  " + thread.name + std::string(std::max<int>(1, 12 - static_cast<int>(thread.name.size())), ' ') + what;
    if (where != nullptr) trace_ += " #" + std::to_string(where->number);
    if (!value.empty()) trace_ += ": " + value;
    trace_ += '\n';
}

std::string execution::show(const cell& at, std::uint64_t bits) const {
    if (at.rule != detail::identity::place) return std::to_string(static_cast<std::int64_t>(bits));
    if (bits == 0) return "nullptr";
    for (std::size_t i = 0; i < scenario_.objects_.size(); ++i) {
        const auto begin = reinterpret_cast<std::uintptr_t>(scenario_.objects_[i].where.get());
        if (bits - begin < scenario_.objects_[i].size)
            return "object " + std::to_string(i) + " + " + std::to_string(bits - begin);
    }
    return "a pointer";
}

}  // namespace model
