// exception_group on its own: what it holds, what it says, how it is split.
#include <algorithm>
#include <new>
#include <stdexcept>
#include <system_error>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

static_assert(std::is_base_of_v<std::exception, fiber::exception_group>);
static_assert(std::is_nothrow_copy_constructible_v<fiber::exception_group>);
static_assert(std::is_nothrow_copy_assignable_v<fiber::exception_group>);

namespace {

template <class E>
std::exception_ptr made(E error) {
    return std::make_exception_ptr(std::move(error));
}

// Group "outer" of a runtime_error, group "inner" (a range_error, a logic_error) and an int.
fiber::exception_group sample() {
    const fiber::exception_group inner("inner",
                                       {made(std::range_error("far away")), made(std::invalid_argument("wrong"))});
    return {"outer", {made(std::runtime_error("a")), made(inner), made(17)}};
}

// "outer(runtime_error a, inner(…))": the shape of a group, with what() of what is no group.
std::string shape_of(const fiber::exception_group& group) {
    std::string text = group.message() + "(";
    const char* separator = "";
    for (const std::exception_ptr& each : group.exceptions()) {
        text += std::exchange(separator, ", ");
        try {
            std::rethrow_exception(each);
        } catch (const fiber::exception_group& nested) {
            text += shape_of(nested);
        } catch (const std::exception& error) {
            text += error.what();
        } catch (int number) {
            text += std::to_string(number);
        }
    }
    return text + ")";
}

std::string shape_of(const std::optional<fiber::exception_group>& group) { return group ? shape_of(*group) : "none"; }

}  // namespace

TEST_CASE("row 18: an exception_group holds the exceptions in their order, and a message") {
    const fiber::exception_group group = sample();
    CHECK(group.message() == "outer");
    CHECK(group.exceptions().size() == 3);
    CHECK(shape_of(group) == "outer(a, inner(far away, wrong), 17)");
    fiber::exception_group copy("another", {made(1)});
    copy = group;
    CHECK(copy.exceptions().data() == group.exceptions().data());  // cheap: shared
    CHECK(std::string(copy.what()) == group.what());
}

TEST_CASE("row 18: what() is a sentence that names the message, and type and text of each exception") {
    const std::string what = sample().what();
    for (const char* part : {"outer", "std::runtime_error: a", "fiber::exception_group: inner", "std::range_error: far",
                             "std::invalid_argument: wrong", "int"}) {
        CHECK_MESSAGE(what.find(part) != std::string::npos, part, " in ", what);
    }
    const std::string one = fiber::exception_group("alone", {made(std::runtime_error("x"))}).what();
    CHECK(one == "alone: std::runtime_error: x");
}

TEST_CASE("row 19: split by type: matching ones and others, nested groups keep their shape") {
    const fiber::exception_group group = sample();
    const auto [runtime_errors, no_runtime_errors] = group.split<std::runtime_error>();  // range_error is one
    CHECK(shape_of(runtime_errors) == "outer(a, inner(far away))");
    CHECK(shape_of(no_runtime_errors) == "outer(inner(wrong), 17)");

    const auto [numbers, no_numbers] = group.split<int>();
    CHECK(shape_of(numbers) == "outer(17)");
    CHECK(shape_of(no_numbers) == "outer(a, inner(far away, wrong))");

    const auto [none, all] = group.split<std::bad_alloc>();
    CHECK_FALSE(none);
    CHECK(shape_of(all) == shape_of(group));

    const auto [groups, no_groups] = group.split<fiber::exception_group>();  // a match is not looked into
    CHECK(shape_of(groups) == "outer(inner(far away, wrong))");
    CHECK(shape_of(no_groups) == "outer(a, 17)");

    const auto [exceptions, rest] = group.split<std::exception>();
    CHECK(shape_of(exceptions) == "outer(a, inner(far away, wrong))");
    CHECK(shape_of(rest) == "outer(17)");
}

TEST_CASE("row 19: what a group of tasks throws can be split") {
    on_each_worker_count([] {
        try {
            fiber::with_task_group([](fiber::task_group& group) {
                group.spawn([] { throw std::runtime_error("a"); });
                throw std::system_error(std::make_error_code(std::errc::io_error));
            });
            FAIL("nothing was thrown");
        } catch (const fiber::exception_group& group) {
            const auto [system_errors, others] = group.split<std::system_error>();
            REQUIRE(system_errors);
            CHECK(system_errors->exceptions().size() == 1);
            CHECK(system_errors->message() == group.message());
            const std::size_t failed = others ? others->exceptions().size() : 0;
            CHECK(failed == group.exceptions().size() - 1);  // the task may have been cancelled before its start
        }
    });
}

TEST_CASE("an exception_group of nothing, or with nothing in it, is refused") {
    CHECK_THROWS_AS(fiber::exception_group("empty", {}), std::invalid_argument);
    CHECK_THROWS_AS(fiber::exception_group("null", {made(1), nullptr}), std::invalid_argument);
}
