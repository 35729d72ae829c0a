// The idle protocol explored exhaustively: work that is published while workers go idle is never left with everybody
// asleep. The workers below do what scheduler/core/worker_search.cpp does, without its repetitions and pauses.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <doctest/doctest.h>
#include <functional>

#include "scheduler/park/idle_set.hpp"
#include "scheduler/queue/deque.hpp"
#include "tests/model/expect.hpp"
#include "tests/model/explorer.hpp"

namespace {

using fiber::engine::cancel_wait_verdict;
using fiber::engine::found_verdict;
using model::scenario;

constexpr std::size_t most_workers = 3;

// A queue as far as the protocol goes: items are counted only. Published as the deque does, taken as its thieves do.
class queue {
 public:
    void push() { pushed_.store(pushed_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
    void push_from_outside() { pushed_.fetch_add(1, std::memory_order_seq_cst); }
    bool take() {
        int taken = taken_.load(std::memory_order_seq_cst);
        while (taken < pushed_.load(std::memory_order_seq_cst)) {
            if (taken_.compare_exchange_strong(taken, taken + 1)) return true;
        }
        return false;
    }
    bool steal_into(queue&) { return take(); }
    bool empty() const {
        const int taken = taken_.load(std::memory_order_seq_cst);
        return taken >= pushed_.load(std::memory_order_seq_cst);
    }

 private:
    model::atomic<int> pushed_{0};
    model::atomic<int> taken_{0};
};

struct no_barrier {
    static void light() noexcept {}
    static void heavy() noexcept {}
};

// The real one.
class deque {
 public:
    void push() {
        entries_.push(&item_);
        entries_.share();
    }
    bool take() { return entries_.take() != nullptr; }
    bool steal_into(deque& own) {
        if (entries_.steal_half(own.entries_).item != nullptr) return true;
        if (entries_.empty()) return false;
        entries_.expose();
        return entries_.steal_half(own.entries_).item != nullptr;
    }
    bool empty() const { return entries_.empty(); }

 private:
    using type = fiber::engine::work_stealing_deque<int, model::atomic, model::asymmetric_barrier>;

    type entries_{type::sharing::stealable, 4};
    int item_ = 0;
};

enum class duty { taken_over, forgotten };  // of the last searcher, when it has found work
enum class heeds { notified_only, any_news };

struct shape {
    std::uint32_t workers;
    int items;
    int together = 1;  // an item that was started blocks its worker until so many were: they must run in parallel
    int outside_threads = 0;
    int kicks = 0;
    std::size_t own_queues = 1;  // workers 0 ... have one that is ever filled; the others' stay empty and are left out
    bool batch = false;          // all items are pushed, and then announced once: fibers whose timers have expired
};

template <class Queue = queue, duty OfFinder = duty::taken_over, heeds Heeds = heeds::notified_only,
          class Barrier = model::asymmetric_barrier>
class runtime {
 public:
    explicit runtime(shape of) : of_(of), idle_(of.workers) {}

    // A worker with nothing to do; returns when all items have been started.
    void work(std::size_t self) {
        bool searching = idle_.begin_search();
        for (;;) {
            at(place::loop, searching);
            if (take_any(self, searching)) {
                at(place::found, searching);
                if (searching) stop_searching();
                at(place::found, false);
                run_item();
                searching = idle_.begin_search();
                continue;
            }
            switch (wait_for_work(self, searching)) {
                case wait_end::over:
                    return;
                case wait_end::notified:
                    searching = true;
                    break;
                case wait_end::work_seen:
                    searching = idle_.begin_search();
            }
        }
    }

    // A task that spawns on worker 0.
    void spawn() {
        for (int i = 0; i < of_.items; ++i) {
            queues_[0].push();
            if (of_.batch && i + 1 < of_.items) continue;
            at(place::pushed, false, i);
            notify();
            at(place::pushed, true, i);
        }
    }

    // That task computes until all items were started: its worker does not look at its queue.
    void compute() {
        model::wait_until([this] { return over(); });
    }

    void push_from_outside() {
        for (int i = 0; i < of_.items / of_.outside_threads; ++i) {
            injected_.push_from_outside();
            at(place::pushed, false, i);
            notify();
            at(place::pushed, true, i);
        }
    }

    // An earlier timer: worker 0 should look again. At any time, also when it does not sleep any more.
    void kick() { places_[0].word.fetch_or(member::kicked, std::memory_order_release); }

    // Which worker stands behind which in the idle set's list: the links are all that its lock guards.
    std::uint64_t order_of_waiting() const {
        std::uint64_t order = 0;
        for (const member& each : places_) {
            const void* links[2];
            std::memcpy(links, static_cast<const fiber::engine::list_node*>(&each), sizeof links);
            std::uint64_t next = each.linked() ? most_workers : most_workers + 1;
            for (std::size_t i = 0; i < places_.size(); ++i) {
                if (links[1] == static_cast<const fiber::engine::list_node*>(&places_[i])) next = i;
            }
            order = order * (most_workers + 2) + next;
        }
        return order;
    }

    void check_end() const {
        model::check(started_.peek() == of_.items, "not as many items were started as were pushed");
        model::check(idle_.searching() <= of_.workers && idle_.waiting() <= of_.workers, "miscounted");
    }

 private:
    enum class wait_end { over, notified, work_seen };
    enum class place : unsigned { loop, own_queue, steal, found, announced, look, looked, pushed };
    using set = fiber::engine::basic_idle_set<model::atomic, model::spin_lock, Barrier>;
    using member = typename set::member;

    // Where a worker stands: all that its future depends on.
    static void at(place where, bool searching, int more = 0) {
        model::forget_all_but((static_cast<std::uint64_t>(where) * 2 + searching) * 8 + static_cast<unsigned>(more));
    }

    bool over() const { return started_.peek() == of_.items; }

    bool take_any(std::size_t self, bool searching) {
        if (of_.outside_threads > 0 && injected_.take()) return true;
        at(place::own_queue, searching);
        if (self < of_.own_queues && queues_[self].take()) return true;
        for (std::size_t i = 0; searching && i < of_.own_queues; ++i) {
            at(place::steal, searching, static_cast<int>(i));
            if (i != self && queues_[i].steal_into(queues_[self])) return true;
        }
        return false;
    }

    void run_item() {
        started_.fetch_add(1);
        model::wait_until([this] { return started_.peek() >= of_.together; });
    }

    void notify() {
        if (member* place = idle_.notify()) place->word.fetch_or(member::notified, std::memory_order_release);
    }

    void stop_searching() {
        const bool notify_another = idle_.found() == found_verdict::notify_another;
        if (OfFinder == duty::taken_over && notify_another && work_visible()) notify();
    }

    bool work_visible() const {
        if (of_.outside_threads > 0 && !injected_.empty()) return true;
        for (std::size_t i = 0; i < of_.own_queues; ++i) {
            if (!queues_[i].empty()) return true;
        }
        return false;
    }

    wait_end wait_for_work(std::size_t self, bool searching) {
        member& mine = places_[self];
        idle_.begin_wait(mine, searching);
        at(place::announced, false);
        const bool visible = work_visible();
        at(place::looked, false, visible);
        const std::uint32_t news = visible ? 0 : sleep(mine);
        if (news == everything_started) return wait_end::over;
        if ((news & heeded) == 0) {
            if (idle_.cancel_wait(mine) == cancel_wait_verdict::running) return wait_end::work_seen;
            model::wait_until([&mine] { return (mine.word.peek() & heeded) != 0; });
        }
        model::check(!mine.linked(), "goes on as notified, and stands in the list");
        mine.word.store(0, std::memory_order_relaxed);
        return wait_end::notified;
    }

    std::uint32_t sleep(member& mine) {
        model::wait_until([this, &mine] { return mine.word.peek() != 0 || over(); });
        const std::uint32_t news = mine.word.load(std::memory_order_acquire);
        if (news == 0) return everything_started;
        if ((news & member::notified) == 0) mine.word.fetch_and(~member::kicked);
        return news & member::notified;
    }

    static constexpr std::uint32_t everything_started = 4;
    // What ends a wait as notified. A kick alone must not: it takes nobody out of the list.
    static constexpr std::uint32_t heeded =
        Heeds == heeds::notified_only ? member::notified : member::notified | member::kicked;

    const shape of_;
    set idle_;
    std::array<member, most_workers> places_;
    std::array<Queue, most_workers> queues_;
    queue injected_;
    model::atomic<int> started_{0};
};

// All workers are about to go idle while outside threads push.
template <class Runtime = runtime<>>
auto pushed_from_outside(shape of) {
    of.own_queues = 0;
    return [of](scenario& s) {
        auto& r = s.make<Runtime>(of);
        for (std::size_t i = 0; i < of.workers; ++i) s.thread("worker", [&r, i] { r.work(i); });
        for (int i = 0; i < of.outside_threads; ++i) s.thread("outside", [&r] { r.push_from_outside(); });
        for (int i = 0; i < of.kicks; ++i) s.thread("kicks", [&r] { r.kick(); });
        s.describe_guarded([&r] { return r.order_of_waiting(); });
        s.finally([&r] { r.check_end(); });
    };
}

enum class afterwards { compute, work };

// Worker 0 spawns while the others go idle. Then it never looks at its queue again, or it does.
template <class Runtime = runtime<>>
auto spawned(shape of, afterwards then) {
    return [of, then](scenario& s) {
        auto& r = s.make<Runtime>(of);
        s.thread("spawner", [&r, then] {
            r.spawn();
            if (then == afterwards::compute) {
                r.compute();
            } else {
                r.work(0);
            }
        });
        for (std::size_t i = 1; i < of.workers; ++i) s.thread("worker", [&r, i] { r.work(i); });
        s.describe_guarded([&r] { return r.order_of_waiting(); });
        s.finally([&r] { r.check_end(); });
    };
}

constexpr model::options protocol_only{.data_races = false};

void pass(const std::function<void(scenario&)>& setup) { model::must_pass(model::explore(protocol_only, setup)); }
void fail(const std::function<void(scenario&)>& setup, const char* words) {
    model::must_fail(model::explore(protocol_only, setup), words);
}

}  // namespace

TEST_SUITE_BEGIN("idle model");

TEST_CASE("what outside threads push finds a worker") {
    pass(pushed_from_outside({.workers = 1, .items = 2, .outside_threads = 1}));
    pass(pushed_from_outside({.workers = 1, .items = 2, .outside_threads = 2}));
    pass(pushed_from_outside({.workers = 2, .items = 1, .outside_threads = 1}));
}

TEST_CASE("two items from outside find two workers, though only one notifier may have done anything") {
    pass(pushed_from_outside({.workers = 2, .items = 2, .together = 2, .outside_threads = 1}));
}

TEST_CASE("what a worker spawns before it computes for long finds another worker") {
    pass(spawned({.workers = 2, .items = 2}, afterwards::compute));
    pass(spawned({.workers = 3, .items = 1}, afterwards::compute));
    pass(spawned({.workers = 3, .items = 2, .together = 2}, afterwards::compute));
}

TEST_CASE("what a worker spawns before it goes idle itself is run, in parallel if need be") {
    pass(spawned({.workers = 2, .items = 2}, afterwards::work));
    pass(spawned({.workers = 2, .items = 2, .together = 2}, afterwards::work));
}

TEST_CASE("a batch that is announced once finds as many workers as it needs") {
    pass(spawned({.workers = 3, .items = 2, .together = 2, .batch = true}, afterwards::compute));
    pass(spawned({.workers = 2, .items = 2, .together = 2, .batch = true}, afterwards::work));
    using forgetful = runtime<queue, duty::forgotten>;
    fail(spawned<forgetful>({.workers = 3, .items = 2, .together = 2, .batch = true}, afterwards::compute), "deadlock");
}

TEST_CASE("the same with the real deque, whose entries change hands by halves") {
    pass(spawned<runtime<deque>>({.workers = 2, .items = 2, .own_queues = 2}, afterwards::compute));
    pass(spawned<runtime<deque>>({.workers = 2, .items = 2, .own_queues = 2}, afterwards::work));
}

TEST_CASE("a kick ends a sleep and nothing else") {
    pass(pushed_from_outside({.workers = 1, .items = 2, .outside_threads = 1, .kicks = 1}));
    using heedless = runtime<queue, duty::taken_over, heeds::any_news>;
    fail(pushed_from_outside<heedless>({.workers = 1, .items = 2, .outside_threads = 1, .kicks = 1}), "in the list");
}

TEST_CASE("P1: without the barrier a push is left behind with everybody asleep") {
    using unordered = runtime<queue, duty::taken_over, heeds::notified_only, no_barrier>;
    fail(spawned<unordered>({.workers = 2, .items = 1}, afterwards::compute), "deadlock");
}

TEST_CASE("P2: a last searcher that notifies nobody leaves an item behind") {
    using forgetful = runtime<queue, duty::forgotten>;
    fail(pushed_from_outside<forgetful>({.workers = 2, .items = 2, .together = 2, .outside_threads = 1}), "deadlock");
}

TEST_SUITE_END();
