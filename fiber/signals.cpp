// A handler rings an eventfd. (A signalfd sees a signal only while every thread of the process has it blocked, also
// those that the program started before, or that a library starts later.) The handler runs on any thread between any
// two instructions, so it takes no lock: it walks a list whose links are atomic, marks, and writes.
//
// Orders, by pair:
//   S1  An object that goes unlinks itself, then waits until no handler is under way. handler: RMW of under_way, then
//       loads of the links  <>  unlink: stores of the links, then load of under_way; all seq_cst. A handler is seen, or
//       does not find the object.
//   S2  A signal is marked, then the bell is rung; a waiter drains the bell, then looks at the marks. Who takes one
//       mark and leaves others rings again: another may wait for these. A bell without a mark means nothing: it may be
//       the handler in a forked child, which shares the eventfd but not the marks.
#include "fiber/signals.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <string>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>

#include "fiber/error.hpp"
#include "fiber/sleep.hpp"
#include "fiber/this_fiber.hpp"
#include "scheduler/base/spin_lock.hpp"

namespace fiber {

using detail::signal_watch;

namespace {

constexpr int highest = 64;

constexpr std::uint64_t bit_of(int number) noexcept { return std::uint64_t{1} << (number - 1); }

// The process's handlers and who wants to know. A signal's disposition is the process's, so this is, too.
struct watch_table {
    std::atomic<signal_watch*> first{nullptr};
    std::atomic<unsigned> under_way{0};  // handlers
    std::mutex changes;                  // of the list and of what follows; never taken by a handler
    unsigned watchers[highest + 1] = {};
    struct sigaction before[highest + 1] = {};
};

std::atomic<watch_table*> the_handlers{nullptr};  // before the first handler is installed

watch_table& table() {
    static watch_table* const the = new watch_table;  // outlives static destructors: a handler may still come
    the_handlers.store(the, std::memory_order_release);
    return *the;
}

void ring(int doorbell) noexcept {
    constexpr std::uint64_t one = 1;
    (void)!::write(doorbell, &one, sizeof one);  // a full counter is loud enough
}

void on_signal(int number) {
    const int saved_errno = errno;
    watch_table& all = *the_handlers.load(std::memory_order_acquire);
    all.under_way.fetch_add(1, std::memory_order_seq_cst);  // S1
    for (signal_watch* each = all.first.load(std::memory_order_seq_cst); each != nullptr;
         each = each->next.load(std::memory_order_seq_cst)) {
        if (!(each->set & bit_of(number))) continue;
        each->come.fetch_or(bit_of(number), std::memory_order_seq_cst);  // S2
        ring(each->doorbell);
    }
    all.under_way.fetch_sub(1, std::memory_order_seq_cst);
    errno = saved_errno;
}

template <class F>
void for_each_number(std::uint64_t set, F f) {
    for (; set != 0; set &= set - 1) f(std::countr_zero(set) + 1);
}

std::uint64_t set_of(std::initializer_list<int> numbers) {
    if (numbers.size() == 0) throw invalid_option("fiber: signals: the set is empty, nothing could ever arrive");
    std::uint64_t set = 0;
    for (const int number : numbers) {
        const std::string named = "fiber: signals: " + std::to_string(number);
        if (number < 1 || number > highest) throw invalid_option(named + " is no signal: 1 to 64 are");
        if (number > SIGSYS && number < SIGRTMIN) throw invalid_option(named + " is kept by the C library for itself");
        switch (number) {
            case SIGKILL:
            case SIGSTOP:
                throw invalid_option(named + " cannot be waited for: the kernel keeps SIGKILL and SIGSTOP to itself");
            case SIGSEGV:
            case SIGBUS:
            case SIGFPE:
            case SIGILL:
                throw invalid_option(named + " is a fault of the program itself: it cannot go on and wait for it");
            default:
                set |= bit_of(number);
        }
    }
    return set;
}

// Requires: the lock. What was set before comes back, unless somebody has set something else meanwhile. One that was
// sent before, and that no thread has taken in yet, is not for what was set before, which may end the process: to
// ignore a signal discards it. Not SIGCHLD: whose children end while that is ignored gets no status from them.
void forget_locked(watch_table& all, int number) noexcept {
    if (--all.watchers[number] != 0) return;
    struct sigaction now {};
    if (::sigaction(number, nullptr, &now) != 0 || now.sa_handler != &on_signal) return;
    if (number != SIGCHLD) {
        struct sigaction ignored {};
        ignored.sa_handler = SIG_IGN;
        ::sigaction(number, &ignored, nullptr);
    }
    ::sigaction(number, &all.before[number], nullptr);
}

// Requires: the lock. Throws std::system_error. Never inlined: see io_call.hpp, errno.
__attribute__((noinline)) void handle_locked(watch_table& all, int number) {
    if (all.watchers[number] == 0) {
        struct sigaction ours {};
        ours.sa_handler = &on_signal;
        ours.sa_flags = SA_RESTART | SA_ONSTACK;  // a signal's frame may be larger than what is left of a fiber's stack
        ::sigfillset(&ours.sa_mask);
        if (::sigaction(number, &ours, &all.before[number]) != 0) {
            throw std::system_error(errno, std::generic_category(), "fiber: signals: handle " + std::to_string(number));
        }
    }
    ++all.watchers[number];
}

void link_locked(watch_table& all, signal_watch& watch) noexcept {
    watch.next.store(all.first.load(std::memory_order_relaxed), std::memory_order_relaxed);
    all.first.store(&watch, std::memory_order_seq_cst);
}

void unlink_locked(watch_table& all, signal_watch& watch) noexcept {
    std::atomic<signal_watch*>* at = &all.first;
    while (at->load(std::memory_order_relaxed) != &watch) at = &at->load(std::memory_order_relaxed)->next;
    at->store(watch.next.load(std::memory_order_relaxed), std::memory_order_seq_cst);
    engine::polite_spin::until([&] { return all.under_way.load(std::memory_order_seq_cst) == 0; });  // S1
}

__attribute__((noinline)) int make_doorbell() {
    const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "fiber: signals: make an eventfd");
    return fd;
}

}  // namespace

signals::signals(std::initializer_list<int> numbers) {
    watch_.set = set_of(numbers);
    doorbell_ = io::detail::own(make_doorbell());
    watch_.doorbell = doorbell_.native_handle();
    watch_table& all = table();
    const std::lock_guard guard(all.changes);
    link_locked(all, watch_);  // first: whatever is handled finds it
    std::uint64_t handled = 0;
    try {
        for_each_number(watch_.set, [&](int number) {
            handle_locked(all, number);
            handled |= bit_of(number);
        });
    } catch (...) {
        for_each_number(handled, [&](int number) { forget_locked(all, number); });
        unlink_locked(all, watch_);
        throw;
    }
}

signals::~signals() {
    watch_table& all = table();
    const std::lock_guard guard(all.changes);
    for_each_number(watch_.set, [&](int number) { forget_locked(all, number); });
    unlink_locked(all, watch_);
}

std::optional<int> signals::try_wait() noexcept {
    std::uint64_t come = watch_.come.load(std::memory_order_seq_cst);
    while (come != 0) {
        const std::uint64_t rest = come & (come - 1);
        if (!watch_.come.compare_exchange_weak(come, rest, std::memory_order_seq_cst)) continue;
        if (rest != 0) ring(watch_.doorbell);  // S2
        return std::countr_zero(come) + 1;
    }
    return std::nullopt;
}

// For one who waits: whoever was cancelled before the signal came leaves it to the next.
std::optional<int> signals::take() {
    const auto number = try_wait();
    if (!number) return number;
    try {
        this_fiber::check_cancelled();
    } catch (...) {
        watch_.come.fetch_or(bit_of(*number), std::memory_order_seq_cst);
        ring(watch_.doorbell);  // S2
        throw;
    }
    return number;
}

namespace {

// What the first wait of a runtime needs, to watch descriptors at all. A server that has none left is told to stop by a
// signal: who waits for that looks now and then, until there are some.
constexpr auto look_again = std::chrono::milliseconds(50);

bool ran_out(const std::error_code& error) noexcept {
    return error == std::errc::too_many_files_open || error == std::errc::too_many_files_open_in_system ||
           error == std::errc::not_enough_memory || error == std::errc::no_space_on_device;
}

}  // namespace

std::optional<int> signals::wait_within(const io::limit& within) {
    this_fiber::check_cancelled();
    for (;;) {
        if (const auto number = take()) return number;
        std::uint64_t rung = 0;
        std::error_code error;
        doorbell_.read_some({&rung, sizeof rung}, error, within);  // S2
        if (error == std::errc::timed_out) return take();
        if (!error) continue;
        if (!ran_out(error)) throw std::system_error(error, "fiber: signals: wait");
        const engine::nanos left = within.deadline() - detail::current_time();
        if (within.deadline() != engine::never && left <= 0) return take();
        sleep_for(std::min<std::chrono::nanoseconds>(look_again, std::chrono::nanoseconds(left)));
    }
}

int signals::wait() { return *wait_within({}); }

}  // namespace fiber
