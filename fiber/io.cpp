#include "fiber/io.hpp"

#include <fcntl.h>
#include <string>
#include <unistd.h>

#include "fiber/detail/io_call.hpp"
#include "fiber/error.hpp"

namespace fiber::io {

using engine::io_direction;
using engine::io_source;

namespace {

const char* name_of(io_direction direction) noexcept {
    return direction == io_direction::read ? "wait until readable" : "wait until writable";
}

bool is_ready_now(int fd, io_direction direction, int& error) noexcept {
    return direction == io_direction::read ? fiber::detail::is_readable_now(fd, error)
                                           : fiber::detail::is_writable_now(fd, error);
}

std::string with_number(const char* operation, int fd) {
    return std::string("fiber: ") + operation + " on descriptor " + std::to_string(fd);
}

// Until the kernel says that an operation would not block. 0, or an outcome. Level, not edge: whatever the caller left
// unread counts.
long wait_for_level(io_source& source, io_direction direction, engine::nanos deadline) {
    this_fiber::check_cancelled();
    fiber::detail::let_others_run(source);
    fiber::detail::io_use here(source);
    if (here.enter(direction, false) == engine::enter_verdict::closed) return fiber::detail::was_closed;
    for (;;) {
        source.state().take_all(direction);
        int error = 0;
        const bool ready = is_ready_now(source.fd(), direction, error);
        if (error != 0) return -error;
        if (ready) {
            engine::raise_and_wake(source, direction);
            return 0;
        }
        if (const long failed = fiber::detail::wait_to_try(here, direction, deadline)) return failed;
    }
}

// A source in the caller's frame, for one wait.
bool wait_once(int fd, io_direction direction, engine::nanos deadline) {
    io_source source(fd, io_source::ownership::borrowed);
    const long outcome = wait_for_level(source, direction, deadline);
    if (outcome == fiber::detail::timed_out) return false;
    if (outcome < 0)
        fiber::detail::throw_io_error(fiber::detail::error_of(outcome), with_number(name_of(direction), fd));
    return true;
}

}  // namespace

void wait_readable(int fd) { (void)wait_once(fd, io_direction::read, engine::never); }
void wait_writable(int fd) { (void)wait_once(fd, io_direction::write, engine::never); }

bool detail::wait_readable_until(int fd, engine::nanos deadline) { return wait_once(fd, io_direction::read, deadline); }
bool detail::wait_writable_until(int fd, engine::nanos deadline) {
    return wait_once(fd, io_direction::write, deadline);
}

// --- descriptor ---

descriptor::descriptor(int fd) : descriptor(fd, engine::short_read::unknown) {}

descriptor::descriptor(int fd, engine::short_read means) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || (!(flags & O_NONBLOCK) && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)) {
        const int error = errno;
        throw std::system_error(error, std::generic_category(), "fiber: take over descriptor " + std::to_string(fd));
    }
    source_ = new io_source(fd, io_source::ownership::owned, means);
}

descriptor detail::own(int fd) { return own(fd, engine::short_read::unknown); }

descriptor detail::own(int fd, engine::short_read means) {
    try {
        return descriptor(fd, means);
    } catch (...) {
        ::close(fd);
        throw;
    }
}

void descriptor::destroy() noexcept {
    (void)engine::close_and_wake(*source_);
    delete std::exchange(source_, nullptr);
}

bool descriptor::is_open() const noexcept { return source_ != nullptr && !source_->state().is_closed(); }

int descriptor::native_handle() const noexcept { return is_open() ? source_->fd() : -1; }

void descriptor::close() noexcept {
    if (source_ != nullptr) (void)engine::close_and_wake(*source_);
}

int descriptor::release() noexcept {
    if (source_ == nullptr) return -1;
    const int number = source_->release();
    delete std::exchange(source_, nullptr);
    return number;
}

namespace {

void wait_for_level(const descriptor& which, io_direction direction, std::error_code& error, limit within) {
    error.clear();
    const long outcome = which.source() != nullptr ? wait_for_level(*which.source(), direction, within.deadline())
                                                   : fiber::detail::was_closed;
    if (outcome < 0) error = fiber::detail::error_of(outcome);
}

[[noreturn]] void fail(const descriptor& which, const char* operation, const std::error_code& error) {
    fiber::detail::throw_io_error(error, with_number(operation, which.source() != nullptr ? which.source()->fd() : -1));
}

}  // namespace

void descriptor::wait_readable(std::error_code& error, limit within) {
    wait_for_level(*this, io_direction::read, error, within);
}

void descriptor::wait_writable(std::error_code& error, limit within) {
    wait_for_level(*this, io_direction::write, error, within);
}

void descriptor::wait_readable(limit within) {
    std::error_code error;
    wait_readable(error, within);
    if (error) fail(*this, name_of(io_direction::read), error);
}

void descriptor::wait_writable(limit within) {
    std::error_code error;
    wait_writable(error, within);
    if (error) fail(*this, name_of(io_direction::write), error);
}

std::size_t descriptor::read_some(mutable_bytes into, std::error_code& error, limit within) {
    if (source_ == nullptr) return fiber::detail::settled(fiber::detail::was_closed, error);
    return fiber::detail::settled(
        fiber::detail::perform_read(*source_, into.size, within.deadline(),
                                    [&](int fd) { return fiber::detail::read_now(fd, into.data, into.size); }),
        error);
}

std::size_t descriptor::write_some(const_bytes from, std::error_code& error, limit within) {
    if (source_ == nullptr) return fiber::detail::settled(fiber::detail::was_closed, error);
    return fiber::detail::settled(
        fiber::detail::perform(*source_, io_direction::write, within.deadline(),
                               [&](int fd) { return fiber::detail::write_now(fd, from.data, from.size); }),
        error);
}

std::size_t descriptor::read_some(mutable_bytes into, limit within) {
    std::error_code error;
    const std::size_t count = read_some(into, error, within);
    if (error) fail(*this, "read", error);
    return count;
}

std::size_t descriptor::write_some(const_bytes from, limit within) {
    std::error_code error;
    const std::size_t count = write_some(from, error, within);
    if (error) fail(*this, "write", error);
    return count;
}

}  // namespace fiber::io
