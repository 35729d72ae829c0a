#include "fiber/detail/buffered_reads.hpp"

namespace fiber::detail {

namespace {

[[noreturn]] void throw_overrun(const std::string& what, std::size_t most) {
    throw io::limit_overrun(what + ", at most " + std::to_string(most) + " bytes");
}

}  // namespace

void throw_exactly_failure(const std::error_code& error, const std::string& where, io::mutable_bytes into,
                           std::size_t came) {
    if (error != io::errc::end_of_stream) throw_io_error(error, "fiber: read from " + where);
    throw io::incomplete_read(
        "fiber: read " + std::to_string(into.size) + " bytes from " + where + ": " + std::to_string(came) + " came",
        std::string(static_cast<const char*>(into.data), came));
}

void throw_until_failure(const std::error_code& error, const std::string& where, const std::string& partial,
                         std::size_t most) {
    const std::string what = "fiber: read until a delimiter from " + where;
    if (error == io::errc::end_of_stream) throw io::incomplete_read(what, partial);
    if (error == io::errc::limit_overrun) throw_overrun(what, most);
    throw_io_error(error, "fiber: read from " + where);
}

void throw_all_failure(const std::error_code& error, const std::string& where, std::size_t most) {
    if (error == io::errc::limit_overrun) throw_overrun("fiber: read everything from " + where, most);
    throw_io_error(error, "fiber: read from " + where);
}

}  // namespace fiber::detail
