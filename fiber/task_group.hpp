// Tasks that live and end together: asyncio.TaskGroup
// (https://docs.python.org/3/library/asyncio-task.html#task-groups).
//
// A group belongs to the task that makes it, its parent. Leaving the group waits for all of its tasks. The first that
// fails has the others cancelled, and the parent, too, if it is still in the body; what went wrong is thrown as one
// exception_group. A task that was cancelled has not failed.
//
// Thread safety: spawn() from any task of the parent's runtime, all else by the parent.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "fiber/exception_group.hpp"
#include "fiber/future.hpp"
#include "fiber/task.hpp"
#include "scheduler/base/intrusive_list.hpp"
#include "scheduler/base/spin_lock.hpp"

namespace fiber {

// What task_group::spawn() returns: a future of the task's result. It may be dropped, and may outlive the group: it
// owns the result, not the task. An exception belongs to the group, too, whether get() throws it or not.
template <class T>
class group_task : public future<T> {
 public:
    using future<T>::future;

    // The name it was given; empty if none.
    std::string name() const { return engine::name_of(this->slot()); }
};

class task_group {
 public:
    // The calling task becomes the parent. Throws usage_error outside a task.
    task_group();
    // If the group was not joined: cancels its tasks and waits for them. Exceptions that join() would have thrown are
    // reported like those that nobody retrieved. Never throws, is no cancellation point.
    ~task_group();
    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;

    // Starts a task as fiber::spawn() does; tasks of the group may add further ones. Throws usage_error once the group
    // is being aborted (a task has failed) or has been joined, and on a task of another runtime; the callable is then
    // destroyed, not run. Besides what fiber::spawn() throws.
    template <class F>
    requires std::is_invocable_v<std::decay_t<F>>
    auto spawn(F&& f, engine::call_site site = engine::call_site::current()) {
        return add({.site = site}, std::forward<F>(f));
    }
    template <class F, class A>
    requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>>
    auto spawn(F&& f, A&& a, engine::call_site site = engine::call_site::current()) {
        return add({.site = site}, std::forward<F>(f), std::forward<A>(a));
    }
    template <class F, class A, class B>
    requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>, std::decay_t<B>>
    auto spawn(F&& f, A&& a, B&& b, engine::call_site site = engine::call_site::current()) {
        return add({.site = site}, std::forward<F>(f), std::forward<A>(a), std::forward<B>(b));
    }
    template <class F, class A, class B, class C, class... Rest>
    requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>, std::decay_t<B>, std::decay_t<C>,
                                 std::decay_t<Rest>...>
    auto spawn(F&& f, A&& a, B&& b, C&& c, Rest&&... rest) {
        return add({.site = {}}, std::forward<F>(f), std::forward<A>(a), std::forward<B>(b), std::forward<C>(c),
                   std::forward<Rest>(rest)...);
    }
    template <class F, class... A>
    requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>...>
    auto spawn(spawn_options options, F&& f, A&&... args) {
        return add(options, std::forward<F>(f), std::forward<A>(args)...);
    }

    // Leaves the group: waits until all tasks have ended, also those added meanwhile. Throws exception_group if any has
    // failed. Cancellation point: a cancelled parent cancels the tasks, waits for all of them (further requests do not
    // stop that) and throws `cancelled`, or exception_group if there are failures: the request then stays counted and
    // is delivered again. Throws usage_error on another task than the parent, and the second time.
    void join();

    // For with_task_group(): join() with what the body has thrown, nullptr if nothing. Does nothing more if the body
    // has joined.
    void leave(std::exception_ptr body_error);

 private:
    struct member;
    struct member_link : engine::list_node {
        member* owner = nullptr;
    };
    struct place_deleter {
        void operator()(member* place) const noexcept;
    };
    using place = std::unique_ptr<member, place_deleter>;

    template <class F, class... A>
    auto add(const spawn_options& options, F&& f, A&&... args) {
        place taken = make_place();
        auto made = detail::build_task(options, nullptr, std::forward<F>(f), std::forward<A>(args)...);
        admit(made.slot(), std::move(taken));
        return group_task<typename decltype(made)::value_type>(static_cast<detail::handle&&>(made));
    }

    static place make_place();
    void admit(engine::task_slot& slot, place taken);
    const char* why_closed_locked(const engine::task_slot& slot) const noexcept;
    void note_end(member& ended) noexcept;
    bool note_failure(member& failed) noexcept;
    void abort() noexcept;
    void cancel_members() noexcept;
    bool wait_for_members(engine::interruptible mode) noexcept;
    void settle_parent() noexcept;
    void throw_errors(std::exception_ptr body_error);

    engine::task_slot* const parent_;
    unsigned cancelling_on_entry_ = 0;
    bool pending_on_entry_ = false;
    bool left_ = false;
    bool parent_cancelled_ = false;  // by the group; from here on under lock_
    bool exiting_ = false;           // the parent waits in leave()
    bool aborting_ = false;
    bool closed_ = false;
    engine::spin_lock lock_;
    std::size_t open_ = 0;
    engine::intrusive_list<member_link> running_;
    engine::intrusive_list<member_link> told_to_end_;
    member* first_failed_ = nullptr;  // in the order in which they failed
    member** end_of_failed_ = &first_failed_;
    engine::wait_queue parent_waits_;
};

// Calls f(task_group&) and leaves the group: f's value, once all tasks of the group have ended; or exception_group if
// one of them has failed, or f has thrown (that stands last); a `cancelled` goes on as such if nothing failed.
// On a fiber. Cancellation point, as task_group::join().
template <class F>
requires std::is_invocable_v<F, task_group&>
auto with_task_group(F&& f) -> std::invoke_result_t<F, task_group&> {
    using result_type = std::invoke_result_t<F, task_group&>;
    task_group group;
    std::exception_ptr error;
    if constexpr (std::is_void_v<result_type>) {
        try {
            std::forward<F>(f)(group);
        } catch (...) {
            error = std::current_exception();
        }
        group.leave(std::move(error));
    } else {
        std::optional<detail::stored_type<result_type>> value;
        try {
            if constexpr (std::is_reference_v<result_type>) {
                value = std::addressof(std::forward<F>(f)(group));
            } else {
                value.emplace(std::forward<F>(f)(group));
            }
        } catch (...) {
            error = std::current_exception();
        }
        group.leave(std::move(error));
        if constexpr (std::is_reference_v<result_type>) {
            return static_cast<result_type>(**value);
        } else {
            return std::move(*value);
        }
    }
}

}  // namespace fiber
