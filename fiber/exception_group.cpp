#include "fiber/exception_group.hpp"

#include <stdexcept>

#include "fiber/detail/describe.hpp"

namespace fiber {

struct exception_group::content {
    std::string message;
    std::vector<std::exception_ptr> exceptions;
    std::string what;
};

namespace {

std::string all_in_words(const std::string& message, const std::vector<std::exception_ptr>& exceptions) {
    std::string text = message;
    const char* separator = ": ";
    for (const std::exception_ptr& each : exceptions) {
        text += std::exchange(separator, "; ") + detail::describe(each);
    }
    return text;
}

std::optional<exception_group> group_of(const std::string& message, std::vector<std::exception_ptr> some) {
    if (some.empty()) return std::nullopt;
    return exception_group(message, std::move(some));
}

std::optional<exception_group> as_group(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const exception_group& nested) {
        return nested;
    } catch (...) {
        return std::nullopt;
    }
}

}  // namespace

exception_group::exception_group(std::string message, std::vector<std::exception_ptr> exceptions) {
    if (exceptions.empty()) throw std::invalid_argument("fiber: an exception_group needs at least one exception");
    for (const std::exception_ptr& each : exceptions) {
        if (each == nullptr) throw std::invalid_argument("fiber: an exception_group was given a nullptr");
    }
    std::string what = all_in_words(message, exceptions);
    content_ = std::make_shared<const content>(content{std::move(message), std::move(exceptions), std::move(what)});
}

std::span<const std::exception_ptr> exception_group::exceptions() const noexcept { return content_->exceptions; }
const std::string& exception_group::message() const noexcept { return content_->message; }
const char* exception_group::what() const noexcept { return content_->what.c_str(); }

std::pair<std::optional<exception_group>, std::optional<exception_group>> exception_group::split_by(
    bool (*matches)(const std::exception_ptr&)) const {
    std::vector<std::exception_ptr> matching;
    std::vector<std::exception_ptr> others;
    for (const std::exception_ptr& each : content_->exceptions) {
        if (matches(each)) {
            matching.push_back(each);
        } else if (const auto nested = as_group(each)) {
            auto [inside, outside] = nested->split_by(matches);
            if (inside) matching.push_back(std::make_exception_ptr(*inside));
            if (outside) others.push_back(std::make_exception_ptr(*outside));
        } else {
            others.push_back(each);
        }
    }
    return {group_of(message(), std::move(matching)), group_of(message(), std::move(others))};
}

}  // namespace fiber
