// Slabs, guards and idle lists of stack_arena.hpp.
#include "scheduler/context/stack_arena.hpp"

#include <algorithm>
#include <cstdio>
#include <memory>

#include "scheduler/base/check.hpp"

#if FIBER_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace fiber::engine {

namespace {

// Stacks that all begin at the same offset in their page put their hot frames into the same few cache sets, so that ten
// thousand parked fibers evict each other. Neighbours begin `colour_step` bytes apart instead, `colours` of them; about
// 3 KiB of the first page are left. Tuned with bench: yield_many.
constexpr std::size_t colour_step = 128;
constexpr std::size_t colours = 8;

// Guards are made for this many stacks ahead: one system call, without preparing a slab that may never fill.
constexpr std::size_t guard_batch = 64;

// Slabs grow with the number of stacks of their class, so that a small program reserves little and a large one has few.
constexpr std::size_t smallest_slab = 16;
constexpr std::size_t largest_slab = 1024;
constexpr std::size_t smallest_slab_bytes = std::size_t{16} << 20;
constexpr std::size_t largest_slab_bytes = std::size_t{512} << 20;

// Stacks that are given back at a time: some hundred microseconds, and their addresses fit on the caller's stack.
constexpr std::size_t trim_batch = 256;

constexpr std::size_t canary_words = 8;

// Whoever starts task after task needs one stack after the other, and waits for the memory of each that has not been
// used for long (bench sleep_storm): it is fetched some acquisitions ahead.
void prefetch_top(const std::vector<std::byte*>& warm) noexcept {
    constexpr std::size_t ahead = 4;
    constexpr int lines = 10;
    if (warm.size() < ahead) return;
    const std::byte* base = warm[warm.size() - ahead];
    for (int line = 1; line <= lines; ++line) __builtin_prefetch(base - line * 64, 1);
}

std::size_t round_up(std::size_t n, std::size_t unit) noexcept { return (n + unit - 1) / unit * unit; }

// Distance between two stacks of a class. A quarter of the promise on top, the guard page out of it, and two pages at
// the least, so that the colours do not cut into the promise. Instrumented frames are larger, hence more room for them.
std::size_t stride_of(stack_class which) noexcept {
    const std::size_t promised = promised_size(which);
    const std::size_t headroom = FIBER_ASAN || FIBER_TSAN ? 2 * promised : promised / 4;
    return round_up(promised + std::max(headroom, 2 * page_size()), page_size());
}

std::size_t usable_of(stack_class which) noexcept { return stride_of(which) - page_size(); }

// The colour lies within the highest page, so the uncoloured end is the next page's begin.
std::byte* end_of(std::byte* base) noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(base);
    return base + (round_up(address, page_size()) - address);
}

stack_view view_of(std::byte* base, stack_class which) noexcept { return {end_of(base) - usable_of(which), base}; }

// The canary lies in the page below the stack, which belongs to nobody: an overrun hits it before anybody's data.
std::uint64_t* canary_of(const stack_view& stack) noexcept {
    return reinterpret_cast<std::uint64_t*>(stack.limit) - canary_words;
}

std::uint64_t canary_value(const std::uint64_t* word) noexcept {
    return reinterpret_cast<std::uintptr_t>(word) * 0x9e3779b97f4a7c15u | 1u;
}

void write_canary(const stack_view& stack) noexcept {
    std::uint64_t* word = canary_of(stack);
    for (std::size_t i = 0; i < canary_words; ++i, ++word) *word = canary_value(word);
}

bool read_canary(const stack_view& stack) noexcept {
    const std::uint64_t* word = canary_of(stack);
    for (std::size_t i = 0; i < canary_words; ++i, ++word) {
        if (*word != canary_value(word)) return false;
    }
    return true;
}

[[noreturn]] void end_by_overrun(stack_class which) noexcept {
    std::fprintf(
        stderr,
        "fiber: a fiber's stack of %zu KiB, for which the system had no guard page, was overrun, and memory next "
        "to it is damaged: give its task a larger spawn_options::stack_size\n",
        promised_size(which) / 1024);
    std::abort();
}

template <class T>
void reserve_geometrically(std::vector<T>& v, std::size_t n) {
    if (v.capacity() < n) v.reserve(std::max(n, 2 * v.capacity()));
}

}  // namespace

stack_exhausted::stack_exhausted(acquire_verdict why, stack_class which) noexcept : why_(why) {
    std::snprintf(text_.data(), text_.size(), "no memory for a fiber's stack of %zu KiB: %s",
                  promised_size(which) / 1024, explain(why));
}

stack_arena::stack_arena(stack_guard guard) noexcept : guard_(guard) {}

stack_arena::~stack_arena() {
    FIBER_ASSERT(in_use_ == 0);
    for (std::size_t c = 0; c < shelves_.size(); ++c) {
        for (const slab& each : shelves_[c].slabs) {
            unmap_stack_memory(each.first, each.count * stride_of(static_cast<stack_class>(c)));
        }
    }
}

stack_view stack_arena::acquire(stack_class which) {
    stack_view stack;
    const acquire_verdict verdict = try_acquire(which, stack);
    if (verdict != acquire_verdict::acquired) throw stack_exhausted(verdict, which);
    return stack;
}

acquire_verdict stack_arena::try_acquire(stack_class which, stack_view& stack) noexcept {
    FIBER_ASSERT(which < stack_class_count);
    const std::lock_guard hold(mutex_);
    shelf& from = shelves_[which];
    for (std::vector<std::byte*>* idle : {&from.warm, &from.cold}) {
        if (idle->empty()) continue;
        stack = view_of(idle->back(), which);
        idle->pop_back();
        from.least_warm = std::min(from.least_warm, from.warm.size());
        ++in_use_;
        prefetch_top(from.warm);
        return acquire_verdict::acquired;
    }
    if (from.slabs.empty() || from.slabs.back().handed_out == from.slabs.back().count) {
        const acquire_verdict verdict = add_slab_locked(from, which);
        if (verdict != acquire_verdict::acquired) return verdict;
    }
    stack = hand_out_locked(from.slabs.back(), which);
    ++in_use_;
    return acquire_verdict::acquired;
}

acquire_verdict stack_arena::add_slab_locked(shelf& into, stack_class which) noexcept {
    const std::size_t stride = stride_of(which);
    const std::size_t bytes = std::clamp(into.stacks * stride, smallest_slab_bytes, largest_slab_bytes);
    std::size_t count = std::clamp(into.stacks, smallest_slab, largest_slab);
    count = std::clamp(bytes / stride, std::size_t{1}, count);
    try {
        // Before the mapping, so that there is nothing to undo.
        reserve_geometrically(into.slabs, into.slabs.size() + 1);
        reserve_geometrically(into.warm, into.stacks + count);
        reserve_geometrically(into.cold, into.stacks + count);
    } catch (const std::bad_alloc&) {
        return limit_hit_by(count * (sizeof(slab) + 2 * sizeof(std::byte*)));
    }
    acquire_verdict verdict = acquire_verdict::acquired;
    std::byte* first = nullptr;
    // A limit that stands near may still grant a smaller slab.
    while ((first = map_stack_memory(count * stride, verdict)) == nullptr) {
        if (count == 1) return verdict;
        count /= 2;
    }
    into.slabs.push_back(
        {.first = first, .count = static_cast<std::uint32_t>(count), .guard = guard_for_new_slab(count)});
    into.stacks += count;
    mapped_bytes_ += count * stride;
    return acquire_verdict::acquired;
}

stack_guard stack_arena::guard_for_new_slab(std::size_t stacks) const noexcept {
    if (guard_ == stack_guard::canary) return stack_guard::canary;
    if (guard_ != stack_guard::protection && lightweight_guards_supported()) return stack_guard::lightweight;
    return mappings_to_spare(2 * stacks) ? stack_guard::protection : stack_guard::canary;
}

void stack_arena::prepare_locked(slab& of, stack_class which) noexcept {
    std::array<iovec, guard_batch> pages{};
    const std::size_t wanted = std::min<std::size_t>(pages.size(), of.count - of.prepared);
    for (std::size_t i = 0; i < wanted; ++i) pages[i] = {of.first + (of.prepared + i) * stride_of(which), page_size()};
    std::size_t done = 0;
    if (of.guard == stack_guard::lightweight) {
        done = install_lightweight_guards(pages.data(), wanted);
        if (done < wanted) {
            of.guard = mappings_to_spare(2 * of.count) ? stack_guard::protection : stack_guard::canary;
        }
    }
    if (of.guard == stack_guard::protection) {
        while (done < wanted && protect_page(static_cast<std::byte*>(pages[done].iov_base))) ++done;
        if (done < wanted) of.guard = stack_guard::canary;
    }
    of.prepared += static_cast<std::uint32_t>(wanted);
    of.guarded += static_cast<std::uint32_t>(done);
}

stack_view stack_arena::hand_out_locked(slab& from, stack_class which) noexcept {
    const std::uint32_t index = from.handed_out++;
    if (index == from.prepared) prepare_locked(from, which);
    std::byte* end = from.first + (index + 1) * stride_of(which);
    const stack_view stack = view_of(end - index % colours * colour_step, which);
    if (index >= from.guarded) {
        write_canary(stack);
        // relaxed: canary_intact() looks for the stack's own slab under the lock.
        unguarded_.fetch_add(1, std::memory_order_relaxed);
    }
    return stack;
}

void stack_arena::release(std::span<const stack_view> stacks, stack_class which) noexcept {
    for (const stack_view& stack : stacks) {
#if FIBER_ASAN
        __asan_unpoison_memory_region(stack.limit, stack.size());
#endif
        if (!canary_intact(stack, which)) [[unlikely]]
            end_by_overrun(which);
    }
    const std::lock_guard hold(mutex_);
    for (const stack_view& stack : stacks) {
        FIBER_ASSERT(in_use_ > 0 && view_of(stack.base, which).limit == stack.limit);
        --in_use_;
        shelves_[which].warm.push_back(stack.base);
    }
}

bool stack_arena::has_spare(std::size_t keep) const noexcept {
    const std::lock_guard hold(mutex_);
    return std::any_of(shelves_.begin(), shelves_.end(), [keep](const shelf& each) { return each.warm.size() > keep; });
}

void stack_arena::begin_period() noexcept {
    const std::lock_guard hold(mutex_);
    for (shelf& each : shelves_) each.least_warm = each.warm.size();
}

bool stack_arena::trim_unused(std::size_t keep) noexcept {
    std::unique_lock hold(mutex_);
    for (std::size_t c = 0; c < shelves_.size(); ++c) {
        shelf& of = shelves_[c];
        const std::size_t unused = std::min(of.least_warm, of.warm.size());
        if (unused <= keep) continue;
        of.least_warm = unused - give_back_coldest(static_cast<stack_class>(c), unused - keep, hold);
        return true;
    }
    return false;
}

// Those released longest ago, as many as fit into a batch; returns how many. Without the lock meanwhile.
std::size_t stack_arena::give_back_coldest(stack_class which, std::size_t count,
                                           std::unique_lock<std::mutex>& hold) noexcept {
    std::array<std::byte*, trim_batch> bases;
    std::array<iovec, trim_batch> ranges;
    shelf& of = shelves_[which];
    count = std::min(count, trim_batch);
    const auto coldest = of.warm.begin(), end = coldest + static_cast<std::ptrdiff_t>(count);
    std::copy(coldest, end, bases.begin());
    of.warm.erase(coldest, end);
    of.being_trimmed += count;
    hold.unlock();
    const std::size_t usable = usable_of(which);
    for (std::size_t i = 0; i < count; ++i) ranges[i] = {end_of(bases[i]) - usable, usable};
    give_back(ranges.data(), count);
    hold.lock();
    of.being_trimmed -= count;
    of.cold.insert(of.cold.end(), bases.begin(), bases.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
}

bool stack_arena::canary_intact(const stack_view& stack, stack_class which) const noexcept {
    // relaxed: whoever asks about a stack without a guard has acquired it, and so seen the count.
    if (unguarded_.load(std::memory_order_relaxed) == 0) return true;
    const std::lock_guard hold(mutex_);
    const std::size_t stride = stride_of(which);
    for (const slab& each : shelves_[which].slabs) {
        if (stack.limit < each.first || stack.limit >= each.first + each.count * stride) continue;
        const auto index = static_cast<std::size_t>(stack.limit - each.first) / stride;
        return index < each.guarded || read_canary(stack);
    }
    return true;
}

stack_statistics stack_arena::statistics() const noexcept {
    const std::lock_guard hold(mutex_);
    stack_statistics sum;
    sum.in_use = in_use_;
    sum.mapped_bytes = mapped_bytes_;
    sum.unguarded = unguarded_.load(std::memory_order_relaxed);
    for (const shelf& each : shelves_) sum.idle += each.warm.size() + each.cold.size() + each.being_trimmed;
    return sum;
}

}  // namespace fiber::engine
