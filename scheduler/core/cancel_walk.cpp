// A cancellation on its way: from cancel() down to the waits that it ends.
//
// A task that waits for another by get() passes the request on to that one, along a chain; one that waits for several
// has a forwarder, and passes it on to each of its children. Each task on the way counts the request; the last of each
// chain gets it delivered. The walk is depth first. It holds no lock while it goes from one task to the next, so locks
// are never nested, and it needs no more of the caller's stack for a long way than for a short one.
//
// A wait that the walk is in the midst of may end at any moment. So each walk leaves a visit at the forwarder, under
// the lock of the waiting task; the end of the wait unlinks it, and the walk, which looks at the children only under
// that lock, sees that they are no longer to be had.
//
// Tasks that wait for each other in a ring wait for ever; cancelling must end, and end that. Where the walk comes round
// it counts no more, and delivers to a task of the ring: it is the visit by which it knows a forwarder that it has come
// through, and in a chain Brent's algorithm. That task would pass it on itself, until it comes back to it, the asker.
#include <bit>
#include <memory>
#include <mutex>
#include <new>

#include "scheduler/core/cancel_steps.hpp"
#include "scheduler/core/lifecycle.hpp"

namespace fiber::engine {

namespace {

// Tasks each of which waits for the next by get(), and has been counted.
class chain {
 public:
    explicit chain(const cancel_target& top) noexcept : top_(top), last_(top), mark_(top) {}

    const cancel_target& last() const noexcept { return last_; }

    // Has it been at `next`? Then that is the last. A ring without the top is noticed some rounds later.
    bool goes_round(const cancel_target& next) noexcept {
        closed_ = closed_ || next == top_ || next == mark_;
        if (closed_) last_ = next;
        return closed_;
    }
    void go_to(const cancel_target& next) noexcept {
        above_[pushed_++ % most] = last_;
        if (count_ < most) ++count_;
        if (std::has_single_bit(++steps_)) mark_ = next;
        last_ = next;
    }

    // To the last. One that has finished between the count and the delivery takes nothing any more: then the one who
    // waited for it, and goes on, must not go on as if nobody had asked. It gets the delivery. over: so has the top.
    deliver_verdict deliver(const char* message) noexcept {
        for (;;) {
            const deliver_verdict delivered = engine::deliver(last_, message);
            if (delivered != deliver_verdict::over) return delivered;
            if (last_ == top_) {
                take_back_count(top_);
                return delivered;
            }
            last_ = count_ == 0 ? top_ : pop();
        }
    }

    void take_back_counts() noexcept {
        take_back_count(last_);
        while (count_ != 0) take_back_count(pop());
    }

 private:
    cancel_target pop() noexcept {
        --count_;
        return above_[--pushed_ % most];
    }

    static constexpr unsigned most = 16;  // so many would have to finish at the same moment to be too few
    cancel_target top_;
    cancel_target last_;
    cancel_target mark_;
    cancel_target above_[most];  // those before the last; of a long chain only the nearest
    unsigned pushed_ = 0;
    unsigned count_ = 0;
    std::uint64_t steps_ = 0;
    bool closed_ = false;
};

class cancellation {
 public:
    cancellation(const char* message, const task_slot* asker) noexcept : message_(message), asker_(asker) {}

    // Returns whether somebody took it, and it did not come back to the asker.
    bool go(const cancel_target& top) noexcept {
        outcome one = start(top);
        while (innermost_ != nullptr) {
            if (one != outcome::forwarded) innermost_->note(one);
            one = next_child();
        }
        return one == outcome::taken && !came_back_;
    }

 private:
    // over: nobody is left to take it. closes: waits for one that the walk is in the midst of. forwarded: is the
    // children's, and those of the innermost branch are next.
    enum class outcome : std::uint8_t { taken, over, closes, came_back, forwarded };

    // A forwarder some of whose children have had their turn.
    struct branch {
        branch(const chain& way, const void* walk, std::unique_ptr<branch> above) noexcept
            : way(way), visit(walk), above(std::move(above)) {}

        void note(outcome of_child) noexcept {
            taken |= of_child == outcome::taken;
            closes |= of_child == outcome::closes;
            came_back |= of_child == outcome::came_back;
        }

        chain way;  // whose last task has the forwarder
        forward_visit visit;
        cancel_forwarder* forwarder = nullptr;  // as long as the visit is linked
        std::size_t next = 0;
        bool taken = false;
        bool closes = false;
        bool came_back = false;
        std::unique_ptr<branch> above;
    };

    outcome start(const cancel_target& at) noexcept {
        if (at.task == asker_) return came_back();
        if (visits(at)) return outcome::closes;
        return count_request(at) ? follow(chain(at)) : outcome::over;
    }

    outcome came_back() noexcept {
        came_back_ = true;
        return outcome::came_back;
    }

    outcome follow(chain way) noexcept {
        cancel_target closing{nullptr, 0};
        for (;;) {
            const std::uintptr_t awaited = way.last().task->awaiting.load(std::memory_order_acquire);
            if (awaited & 1) {
                if (branch_off(way, awaited)) return outcome::forwarded;
            } else if (const cancel_target next = awaited_by(way.last()); next.task != nullptr) {
                if (next.task == asker_) {
                    way.take_back_counts();
                    return came_back();
                }
                if (visits(next)) {
                    // The last cannot take it if it has called the next on its own stack: the forwarder has to end.
                    if (next == closing) return outcome::closes;
                    closing = next;
                } else if (!way.goes_round(next) && count_request(next)) {
                    way.go_to(next);
                    continue;
                }
            }
            const deliver_verdict delivered = way.deliver(message_);
            if (delivered == deliver_verdict::delivered) return outcome::taken;
            if (delivered == deliver_verdict::over) return outcome::over;
        }
    }

    // false: the forwarder has gone, or there is no memory for the way back; delivered to the waiting task it is passed
    // on from there.
    bool branch_off(const chain& way, std::uintptr_t tagged) noexcept {
        std::unique_ptr<branch> fresh(new (std::nothrow) branch(way, this, nullptr));
        if (fresh == nullptr) return false;
        const cancel_target& at = way.last();
        {
            std::lock_guard guard(at.task->lock);
            if (at.task->awaiting.load(std::memory_order_relaxed) != tagged || !at.stands()) return false;
            fresh->forwarder = reinterpret_cast<cancel_forwarder*>(tagged & ~std::uintptr_t{1});
            fresh->forwarder->visits.push_back(fresh->visit);
            fresh->forwarder->passes(*fresh->forwarder, message_);
        }
        fresh->above = std::move(innermost_);
        innermost_ = std::move(fresh);
        return true;
    }

    // Is the walk in the midst of its children?
    bool visits(const cancel_target& at) const noexcept {
        if (!(at.task->awaiting.load(std::memory_order_acquire) & 1)) return false;
        std::lock_guard guard(at.task->lock);
        const std::uintptr_t awaited = at.task->awaiting.load(std::memory_order_relaxed);
        if (!(awaited & 1)) return false;
        auto& visits = reinterpret_cast<cancel_forwarder*>(awaited & ~std::uintptr_t{1})->visits;
        for (auto* each = visits.empty() ? nullptr : &visits.front(); each != nullptr; each = visits.after(*each)) {
            if (each->walk == this) return true;
        }
        return false;
    }

    outcome next_child() noexcept {
        branch& at = *innermost_;
        cancel_target child{nullptr, 0};
        bool held = false;
        {
            std::lock_guard guard(at.way.last().task->lock);
            if (at.visit.linked() && at.next < at.forwarder->count) {
                task_slot& next = *at.forwarder->children[at.next++];
                child = {&next, next.generation()};
                held = next.pool == nullptr && hold_to_cancel(next);
            }
        }
        if (child.task == nullptr) return leave_branch();
        if (held) {
            cancel_held(*child.task, message_);
            return outcome::taken;
        }
        return child.task->pool != nullptr ? start(child) : outcome::over;
    }

    // All children have had their turn, or the wait is over.
    outcome leave_branch() noexcept {
        const std::unique_ptr<branch> left = std::move(innermost_);
        innermost_ = std::move(left->above);
        {
            std::lock_guard guard(left->way.last().task->lock);
            if (left->visit.linked()) {
                left->visit.unlink();
                if (left->closes) left->forwarder->comes_back(*left->forwarder);
            }
        }
        if (left->taken && !left->closes) return outcome::taken;
        if (left->came_back && !left->closes) {
            left->way.take_back_counts();
            return outcome::came_back;
        }
        const deliver_verdict delivered = left->way.deliver(message_);
        if (delivered == deliver_verdict::moved_on) return follow(left->way);
        return delivered == deliver_verdict::delivered ? outcome::taken : outcome::over;
    }

    const char* const message_;
    const task_slot* const asker_;
    std::unique_ptr<branch> innermost_;
    bool came_back_ = false;
};

}  // namespace

bool cancel(task_slot& task, const char* message, const task_slot* asker) noexcept {
    if (task.pool != nullptr) return cancel_generation(task, task.generation(), message, asker);
    if (!hold_to_cancel(task)) return false;
    cancel_held(task, message);
    return true;
}

bool cancel_generation(task_slot& task, std::uint32_t generation, const char* message,
                       const task_slot* asker) noexcept {
    // Told earlier, a task that looks at its stop token could end before the delivery, which then had come too late.
    const deferred_listeners until_delivered;
    return cancellation(message, asker).go({&task, generation});
}

}  // namespace fiber::engine
