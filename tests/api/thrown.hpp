// What was thrown, taken apart: used by the tests of whatever throws exceptions of its tasks.
// Any thread.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fiber/exception_group.hpp"

namespace fiber::test {

// The group that f throws, or none.
template <class F>
std::optional<exception_group> group_thrown_by(F&& f) {
    try {
        std::forward<F>(f)();
    } catch (const exception_group& group) {
        return group;
    }
    return std::nullopt;
}

inline std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& what) {
        return what.what();
    } catch (...) {
        return "not a std::exception";
    }
}

// What the exceptions of the group say; nothing if there is no group.
inline std::vector<std::string> texts_of(const std::optional<exception_group>& group) {
    std::vector<std::string> texts;
    if (!group) return texts;
    for (const std::exception_ptr& each : group->exceptions()) texts.push_back(text_of(each));
    return texts;
}

}  // namespace fiber::test
