#include "fiber/pipe.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include "fiber/detail/buffered_reads.hpp"

namespace fiber::io {

namespace {

auto reads(const descriptor& end, fiber::detail::read_buffer& buffer, std::error_code& error,
           const limit& within) noexcept {
    const auto receive = [](int fd, void* into, std::size_t size) noexcept {
        return fiber::detail::read_now(fd, into, size);
    };
    return fiber::detail::buffered_reads<decltype(receive)>{end.source(), buffer, within.deadline(), error, receive};
}

// The number also of one that is closed.
std::string called(const descriptor& end, const std::string& name) {
    if (!name.empty()) return name;
    return end.source() != nullptr ? "descriptor " + std::to_string(end.source()->fd()) : "no descriptor";
}

}  // namespace

std::size_t pipe_reader::read_some(mutable_bytes into, std::error_code& error, limit within) {
    return reads(end_, buffer_, error, within).some(into);
}

std::size_t pipe_reader::read_some(mutable_bytes into, limit within) {
    std::error_code error;
    const std::size_t count = read_some(into, error, within);
    if (error) fiber::detail::throw_io_error(error, "fiber: read from " + called(end_, name_));
    return count;
}

std::size_t pipe_reader::read_exactly(mutable_bytes into, std::error_code& error, limit within) {
    return reads(end_, buffer_, error, within).exactly(into);
}

void pipe_reader::read_exactly(mutable_bytes into, limit within) {
    std::error_code error;
    const std::size_t done = read_exactly(into, error, within);
    if (error) fiber::detail::throw_exactly_failure(error, called(end_, name_), into, done);
}

std::string pipe_reader::read_exactly(std::size_t size, limit within) {
    std::string all(size, '\0');
    read_exactly(all, within);
    return all;
}

void pipe_reader::read_until(std::string& into, std::string_view delimiter, std::size_t most, std::error_code& error,
                             limit within) {
    reads(end_, buffer_, error, within).until(into, delimiter, most);
}

void pipe_reader::read_until(std::string& into, std::string_view delimiter, std::size_t most, limit within) {
    std::error_code error;
    read_until(into, delimiter, most, error, within);
    if (error) fiber::detail::throw_until_failure(error, called(end_, name_), into, most);
}

std::string pipe_reader::read_until(std::string_view delimiter, std::size_t most, limit within) {
    std::string line;
    read_until(line, delimiter, most, within);
    return line;
}

void pipe_reader::read_all(std::string& into, std::size_t most, std::error_code& error, limit within) {
    reads(end_, buffer_, error, within).all(into, most);
}

std::string pipe_reader::read_all(std::size_t most, limit within) {
    std::string all;
    std::error_code error;
    read_all(all, most, error, within);
    if (error) fiber::detail::throw_all_failure(error, called(end_, name_), most);
    return all;
}

std::size_t pipe_writer::write_some(const_bytes from, limit within) {
    std::error_code error;
    const std::size_t count = write_some(from, error, within);
    if (error) fiber::detail::throw_io_error(error, "fiber: write to " + called(end_, name_));
    return count;
}

std::size_t pipe_writer::write_all(const_bytes from, std::error_code& error, limit within) {
    error.clear();
    std::size_t done = 0;
    while (done < from.size && !error) {
        const auto* rest = static_cast<const char*>(from.data) + done;
        done += end_.write_some(const_bytes(rest, from.size - done), error, within);
    }
    return done;
}

void pipe_writer::write_all(const_bytes from, limit within) {
    std::error_code error;
    (void)write_all(from, error, within);
    if (error) fiber::detail::throw_io_error(error, "fiber: write to " + called(end_, name_));
}

// Never inlined: see io_call.hpp, errno.
__attribute__((noinline)) pipe_ends pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        throw std::system_error(errno, std::generic_category(), "fiber: make a pipe");
    }
    descriptor reader;
    try {
        reader = detail::own(ends[0], engine::short_read::drained);
    } catch (...) {
        ::close(ends[1]);
        throw;
    }
    return {pipe_reader(std::move(reader)), pipe_writer(detail::own(ends[1]))};
}

}  // namespace fiber::io
