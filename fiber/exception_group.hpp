// Several exceptions as one: Python's ExceptionGroup
// (https://docs.python.org/3/library/exceptions.html#exception-groups).
// Immutable and cheap to copy; copying does not throw.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fiber {

// What task_group throws. Groups may stand in groups. Any thread; nothing here waits.
class exception_group : public std::exception {
 public:
    // Throws std::invalid_argument if there is no exception, or a nullptr among them; std::bad_alloc.
    exception_group(std::string message, std::vector<std::exception_ptr> exceptions);
    exception_group(const exception_group&) noexcept = default;  // and no move: there is no empty group
    exception_group& operator=(const exception_group&) noexcept = default;

    // In the order in which they came.
    std::span<const std::exception_ptr> exceptions() const noexcept;
    const std::string& message() const noexcept;

    // The message and, of each exception, the type and what it says: "unhandled errors in a task_group:
    // std::runtime_error: a; ...".
    const char* what() const noexcept override;

    // The exceptions of type E (by reference, so bases match), and the others; nested groups are split alike and keep
    // their shape. A part without any is empty. Python: ExceptionGroup.split().
    template <class E>
    std::pair<std::optional<exception_group>, std::optional<exception_group>> split() const {
        return split_by([](const std::exception_ptr& error) {
            try {
                std::rethrow_exception(error);
            } catch (const E&) {
                return true;
            } catch (...) {
                return false;
            }
        });
    }

 private:
    struct content;

    std::pair<std::optional<exception_group>, std::optional<exception_group>> split_by(
        bool (*matches)(const std::exception_ptr&)) const;

    std::shared_ptr<const content> content_;
};

}  // namespace fiber
