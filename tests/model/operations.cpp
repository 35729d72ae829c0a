// What a virtual thread does to memory: the half of execution.hpp behind model::atomic, model::plain and the waits.
#include <algorithm>

#include "tests/model/execution.hpp"

namespace model {

using detail::access_log;
using detail::cell;
using detail::vector_clock;

namespace {

bool acquires(std::memory_order order) noexcept {
    return order != std::memory_order_relaxed && order != std::memory_order_release;
}

bool releases(std::memory_order order) noexcept {
    return order == std::memory_order_release || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
}

}  // namespace

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

}  // namespace model
