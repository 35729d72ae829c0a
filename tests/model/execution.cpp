#include "tests/model/execution.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace model {

using detail::access_log;
using detail::cell;
using detail::vector_clock;

execution* running = nullptr;

namespace {

std::uint64_t hash_of(const vector_clock& clock) noexcept {
    std::uint64_t words[sizeof(vector_clock) / sizeof(std::uint64_t)];
    std::memcpy(words, clock.data(), sizeof words);
    return mix(words[0], words[1]);
}

bool acquires(std::memory_order order) noexcept {
    return order != std::memory_order_relaxed && order != std::memory_order_release;
}

bool releases(std::memory_order order) noexcept {
    return order == std::memory_order_release || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
}

}  // namespace

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

// --- the state of memory ---------------------------------------------------------------------------------------------

std::uint64_t execution::next_id() noexcept {
    return current_ == nullptr ? mix(1, ++made_) : mix(mix(2, current_->history), ++current_->made);
}

void execution::adopt(cell& made) noexcept {
    made.id = next_id();
    made.number = ++cells_;
}

// Stores to it that are still on their way reach nobody.
void execution::end(cell& at) noexcept {
    drop(at.contribution);
    if (current_ == nullptr) return;
    for (virtual_thread& thread : threads_) {
        std::erase_if(thread.buffer, [&](const buffered& each) { return each.to == &at; });
    }
}

void execution::adopt(access_log& made) noexcept { made.id = next_id(); }

void execution::initialize(cell& at, std::uint64_t bits) noexcept {
    write(at, bits, content_of(at, bits), current_ == nullptr ? vector_clock{} : current_->clock);
}

// Addresses differ from execution to execution.
std::uint64_t execution::content_of(const cell& at, std::uint64_t bits) const noexcept {
    if (at.rule == detail::identity::value || (at.rule == detail::identity::place && bits == 0)) return bits;
    if (at.rule == detail::identity::moment && scenario_.describe_guarded_) return bits;
    for (std::size_t i = 0; at.rule == detail::identity::place && i < scenario_.objects_.size(); ++i) {
        const auto begin = reinterpret_cast<std::uintptr_t>(scenario_.objects_[i].where.get());
        if (bits - begin < scenario_.objects_[i].size) return mix(3 + i, bits - begin);
    }
    return mix(at.id, current_ == nullptr ? 0 : current_->history);
}

void execution::write(cell& at, std::uint64_t bits, std::uint64_t content, const vector_clock& released) noexcept {
    at.bits = bits;
    at.content = content;
    at.released = released;
    refresh(at);
}

void execution::refresh(cell& at) noexcept {
    memory_hash_ -= at.contribution;
    at.contribution = mix(mix(at.id, at.content), hash_of(at.released));
    memory_hash_ += at.contribution;
}

void execution::refresh(access_log& log) noexcept {
    memory_hash_ -= log.contribution;
    log.contribution = mix(mix(mix(log.id, log.content), hash_of(log.reads)), hash_of(log.writes));
    memory_hash_ += log.contribution;
}

void execution::synchronize_with(const vector_clock& released) noexcept {
    if (!how_.data_races) return;
    for (std::size_t i = 0; i < released.size(); ++i) {
        current_->clock[i] = std::max(current_->clock[i], released[i]);
    }
}

// What the caller has done up to now, for whoever acquires it.
vector_clock execution::release() noexcept {
    const vector_clock now = current_->clock;
    if (how_.data_races) ++current_->clock[current_->number];
    return now;
}

// --- operations ------------------------------------------------------------------------------------------------------

void execution::pause_before(operation next, const cell* where) {
    current_->pending = next;
    current_->where = where;
    if (draining_) {
        flush_all(*current_);
        if (++drained_ < how_.most_steps && outside([&, self = current_] { return can_run(*self); })) return;
    }
    current_->runner->leave();
}

std::uint64_t execution::load(const cell& from, std::memory_order order) {
    if (current_ == nullptr) return from.bits;
    pause_before(operation::load, &from);
    const auto& buffer = current_->buffer;
    const auto own =
        std::find_if(buffer.rbegin(), buffer.rend(), [&](const buffered& each) { return each.to == &from; });
    const bool forwarded = own != buffer.rend();
    const std::uint64_t bits = forwarded ? own->bits : from.bits;
    if (!forwarded && acquires(order)) synchronize_with(from.released);
    observe(forwarded ? own->content : from.content);
    if (tracing_) note(*current_, forwarded ? "loads own" : "loads", &from, show(from, bits));
    return bits;
}

void execution::store(cell& to, std::uint64_t bits, std::memory_order order) {
    if (current_ == nullptr) return initialize(to, bits);
    const bool strong = order == std::memory_order_seq_cst || how_.stores == memory::interleaving;
    pause_before(strong ? operation::strong_store : operation::buffered_store, &to);
    observe(0);
    const std::uint64_t content = content_of(to, bits);
    const vector_clock released = releases(order) ? release() : vector_clock{};
    if (strong) {
        write(to, bits, content, released);
    } else {
        current_->buffer.push_back({&to, bits, content, releases(order), released, current_->next_sequence++});
    }
    if (tracing_) note(*current_, strong ? "stores" : "buffers", &to, show(to, bits));
}

std::uint64_t execution::begin_update(cell& at) {
    if (current_ == nullptr) return at.bits;
    pause_before(operation::update, &at);
    observe(at.content);
    return at.bits;
}

// An RMW goes on with the release sequence it meets.
void execution::end_update(cell& at, std::uint64_t bits, std::memory_order order) {
    if (current_ == nullptr) return initialize(at, bits);
    if (tracing_) note(*current_, "updates", &at, show(at, at.bits) + " -> " + show(at, bits));
    if (acquires(order)) synchronize_with(at.released);
    vector_clock released = at.released;
    if (releases(order)) {
        const vector_clock mine = release();
        for (std::size_t i = 0; i < released.size(); ++i) released[i] = std::max(released[i], mine[i]);
    }
    write(at, bits, content_of(at, bits), released);
}

void execution::end_failed_update(cell& at, std::memory_order order) {
    if (current_ == nullptr) return;
    if (acquires(order)) synchronize_with(at.released);
    if (tracing_) note(*current_, "fails CAS", &at, show(at, at.bits));
}

void execution::lock(cell& at) {
    if (current_ == nullptr) return;
    pause_before(operation::lock, &at);
    observe(at.content);
    synchronize_with(at.released);
    write(at, 1, content_of(at, 1), at.released);
    if (tracing_) note(*current_, "locks", &at, "");
}

void execution::wait_until(const std::function<bool()>& condition) {
    if (current_ == nullptr) return;
    current_->condition = &condition;
    pause_before(operation::wait, nullptr);
    observe(0);
    if (tracing_) note(*current_, "goes on", nullptr, "");
}

void execution::wait_for_empty_buffers() {
    if (current_ == nullptr) return;
    pause_before(operation::wait_for_empty_buffers, nullptr);
    observe(0);
    if (tracing_) note(*current_, "finds all buffers empty", nullptr, "");
}

bool execution::wait_until_or_stalled(const std::function<bool()>& condition) {
    if (current_ == nullptr) return condition();
    current_->condition = &condition;
    pause_before(operation::wait_or_stall, nullptr);
    const bool holds = outside(condition);
    observe(holds);
    if (tracing_) note(*current_, holds ? "goes on" : "is left alone", nullptr, "");
    return holds;
}

std::uint64_t execution::atomically(const std::function<std::uint64_t()>& action) {
    if (current_ == nullptr) return action();
    pause_before(operation::atomically, nullptr);
    const std::uint64_t result = outside(action);
    observe(result);
    if (tracing_) note(*current_, "looks", nullptr, std::to_string(static_cast<std::int64_t>(result)));
    return result;
}

unsigned execution::choose(unsigned alternatives) {
    const unsigned chosen = draining_ ? 0 : choices_.choose(alternatives);
    observe(chosen);
    if (tracing_) note(*current_, "chooses", nullptr, std::to_string(chosen));
    return chosen;
}

void execution::forget_all_but(std::uint64_t local) noexcept {
    current_->history = mix(mix(4, current_->number), local);
    if (current_->buffer.empty()) current_->next_sequence = 0;
}

void execution::race(const char* access, unsigned other) {
    set_failure("data race: " + current_->name + " " + access + " what " + threads_[other].name +
                " accesses, unordered");
    stop();
}

void execution::note_read(access_log& log) {
    if (current_ == nullptr || !how_.data_races) return;
    for (unsigned i = 0; i < threads_.size(); ++i) {
        if (log.writes[i] > current_->clock[i]) return race("reads", i);
    }
    observe(log.content);
    log.reads[current_->number] = current_->clock[current_->number];
    refresh(log);
}

void execution::note_write(access_log& log) {
    if (current_ == nullptr || !how_.data_races) return;
    for (unsigned i = 0; i < threads_.size(); ++i) {
        if (std::max(log.writes[i], log.reads[i]) > current_->clock[i]) return race("writes", i);
    }
    log.content = mix(log.id, current_->history);
    log.writes[current_->number] = current_->clock[current_->number];
    refresh(log);
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
