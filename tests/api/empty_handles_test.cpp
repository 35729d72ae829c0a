// Handles that refer to nothing: made so, moved from, detached, shared. Whatever is asked of them is a
// std::future_error with no_state, from every verb that takes a handle, and what else was given to that verb stays as
// it was.
#include <future>
#include <span>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

// Does the action throw no_state?
template <class Action>
bool has_no_state(Action action) {
    try {
        action();
    } catch (const std::future_error& error) {
        return error.code() == std::future_errc::no_state;
    }
    return false;
}

template <class Handle>
void check_members(Handle& nothing) {
    const auto now = std::chrono::steady_clock::now();
    CHECK_FALSE(nothing.valid());
    CHECK(has_no_state([&] { (void)nothing.get(); }));
    CHECK(has_no_state([&] { nothing.wait(); }));
    CHECK(has_no_state([&] { (void)nothing.wait_for(1ms); }));
    CHECK(has_no_state([&] { (void)nothing.wait_until(now); }));
    CHECK(has_no_state([&] { (void)nothing.done(); }));
    CHECK(has_no_state([&] { (void)nothing.cancelled(); }));
    CHECK(has_no_state([&] { (void)nothing.cancel(); }));
    CHECK(has_no_state([&] { (void)nothing.cancel("why"); }));
    CHECK(has_no_state([&] { (void)nothing.exception(); }));
}

// The verbs that take a handle of any kind.
template <class Handle>
void check_verbs(Handle& nothing) {
    auto other = fiber::spawn([] { return 1; });
    CHECK(has_no_state([&] { (void)fiber::gather(other, nothing); }));
    CHECK(has_no_state([&] { (void)fiber::gather(fiber::return_exceptions, nothing, other); }));
    CHECK(has_no_state([&] { (void)fiber::gather(std::span(&nothing, 1)); }));
    CHECK(has_no_state([&] { (void)fiber::wait(std::span(&nothing, 1), 1ms); }));
    CHECK(has_no_state([&] { (void)fiber::as_completed(std::span(&nothing, 1)); }));
    CHECK(has_no_state([&] { (void)fiber::wait_for(nothing, 1ms); }));
    CHECK(has_no_state([&] { (void)fiber::wait_for(nothing, 0s); }));
    CHECK(has_no_state([&] { (void)fiber::shield(nothing); }));
    CHECK(other.get() == 1);
}

}  // namespace

TEST_CASE("a task that was never spawned, moved from, or detached") {
    on_each_worker_count([] {
        const auto check = [](fiber::task<int>& nothing) {
            check_members(nothing);
            check_verbs(nothing);
            CHECK(has_no_state([&] { (void)nothing.cancelling(); }));
            CHECK(has_no_state([&] { (void)nothing.uncancel(); }));
            CHECK(has_no_state([&] { (void)nothing.name(); }));
            CHECK(has_no_state([&] { nothing.detach(); }));
            CHECK(has_no_state([&] { (void)fiber::get_stop_token(nothing); }));
        };
        fiber::task<int> never;
        check(never);
        auto source = fiber::spawn([] { return 5; });
        auto target = std::move(source);
        check(source);
        CHECK(target.get() == 5);
        target.detach();
        check(target);
        auto assigned = fiber::spawn([] { return 6; });
        assigned = std::move(never);
        check(assigned);
        auto& itself = assigned = fiber::spawn([] { return 7; });
        assigned = std::move(itself);
        CHECK(assigned.get() == 7);
    });
}

TEST_CASE("a future that was never made, moved from, or shared") {
    on_each_worker_count([] {
        const auto check = [](fiber::future<int>& nothing) {
            check_members(nothing);
            check_verbs(nothing);
            CHECK(has_no_state([&] { nothing.on_done([] {}); }));
            CHECK(has_no_state([&] { (void)nothing.share(); }));
            CHECK(has_no_state([&] { (void)fiber::shared_future<int>(std::move(nothing)); }));
        };
        fiber::future<int> never;
        check(never);
        fiber::promise<int> promise;
        auto source = promise.get_future();
        auto target = std::move(source);
        check(source);
        auto shared = target.share();
        check(target);
        promise.set_value(1);
        CHECK(shared.get() == 1);
    });
}

TEST_CASE("a shared future that was never made, or moved from") {
    on_each_worker_count([] {
        const auto check = [](fiber::shared_future<int>& nothing) {
            check_members(nothing);
            check_verbs(nothing);
            CHECK(has_no_state([&] { nothing.on_done([] {}); }));
        };
        fiber::shared_future<int> never;
        check(never);
        fiber::promise<int> promise;
        auto source = promise.get_future().share();
        auto target = std::move(source);
        check(source);
        promise.set_value(1);
        CHECK(target.get() == 1);
    });
}

TEST_CASE("a group's task that was moved from, a promise and a call that refer to nothing") {
    on_each_worker_count([] {
        fiber::task_group group;
        auto source = group.spawn([] { return 3; });
        auto target = std::move(source);
        check_members(source);
        check_verbs(source);
        CHECK(has_no_state([&] { (void)source.name(); }));
        CHECK(target.get() == 3);
        group.join();

        fiber::promise<int> promise;
        auto future = promise.get_future();
        auto moved = std::move(promise);
        CHECK(has_no_state([&] { promise.set_value(1); }));
        CHECK(has_no_state([&] { promise.set_exception(std::make_exception_ptr(1)); }));
        CHECK(has_no_state([&] { (void)promise.get_future(); }));
        CHECK(has_no_state([&] { (void)promise.done(); }));
        moved.set_value(2);
        CHECK(future.get() == 2);

        fiber::call_handle call;
        CHECK(has_no_state([&] { (void)call.cancel(); }));
    });
}

TEST_CASE("a moved-from handle is refused on a plain thread, too") {
    fiber::task<int> nothing;
    check_members(nothing);
    fiber::future<int> none;
    check_members(none);
    CHECK(has_no_state([&] { (void)fiber::gather(nothing, none); }));
    CHECK(has_no_state([&] { (void)fiber::wait(std::span(&nothing, 1)); }));
    CHECK(has_no_state([&] { (void)fiber::wait_for(none, 1ms); }));
}
