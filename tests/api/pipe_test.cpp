// Pipes as streams of bytes, the buffered reads that they share with sockets, and the signal that is never raised.
#include "fiber/pipe.hpp"

#include <csignal>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fiber/detail/io_call.hpp"
#include "tests/api/fixture.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/no_descriptors.hpp"
#include "tests/support/temporary_directory.hpp"

using namespace fiber::test;
namespace io = fiber::io;

namespace {

int unread_bytes(const io::pipe_reader& from) {
    int count = -1;
    ::ioctl(from.native_handle(), FIONREAD, &count);
    return count;
}

}  // namespace

TEST_CASE("what is written into a pipe comes out: by lines, by counts, by pieces, and the rest") {
    on_each_worker_count([] {
        auto [from, to] = io::pipe();
        auto writer = fiber::spawn([&, &to = to] {
            for (const char* piece : {"one\ntw", "o\nthr", "ee56", "rest"}) {
                to.write_all(piece);
                fiber::yield();
            }
            to.close();
        });
        CHECK(from.read_until("\n") == "one\n");
        CHECK(from.read_until("\n") == "two\n");
        CHECK(from.read_exactly(5) == "three");
        char piece[2];
        from.read_exactly(piece);
        CHECK(std::string(piece, 2) == "56");
        CHECK(from.read_all() == "rest");
        CHECK(from.read_all().empty());
        CHECK(from.read_some(piece) == 0);
        writer.get();
    });
}

TEST_CASE("a full pipe holds the writer up, and nothing is lost") {
    on_each_worker_count([] {
        auto [from, to] = io::pipe();
        std::string sent;
        for (int i = 0; i < 1'000'000; ++i) sent.push_back(static_cast<char>('a' + i % 26));
        auto writer = fiber::spawn([&, &to = to] {
            to.write_all(sent);
            to.close();
        });
        settle();
        CHECK_FALSE(writer.done());
        CHECK(from.read_all(sent.size()) == sent);  // just within the limit
        writer.get();
    });
}

TEST_CASE("beyond the limit there is an error, and everything is still there") {
    on_each_worker_count([] {
        auto [from, to] = io::pipe();
        to.write_all("0123456789");
        to.close();
        CHECK_THROWS_AS(from.read_until("\n", 4), io::limit_overrun);
        std::string into = "so far: ";
        std::error_code error;
        from.read_all(into, 4, error);
        CHECK(error == io::errc::limit_overrun);
        CHECK(into == "so far: 0123");
        CHECK_THROWS_AS(from.read_all(3), io::limit_overrun);
        CHECK(from.read_all(3) == "789");
        CHECK(from.read_all(0).empty());
    });
}

TEST_CASE("the end in the middle gives what came; a limit of time loses nothing; closed is closed") {
    on_each_worker_count([] {
        auto [from, to] = io::pipe();
        to.write_all("half");
        CHECK_THROWS_AS(from.read_until("\n", 100, 1ms), fiber::timeout_error);
        CHECK_THROWS_AS(from.read_exactly(5, 1ms), fiber::timeout_error);
        std::string into;
        std::error_code error;
        from.read_all(into, 100, error, 1ms);
        CHECK(error == std::errc::timed_out);
        CHECK(into == "half");
        to.write_all("again");
        to.close();
        try {
            (void)from.read_until("\n");
            FAIL("there is no line");
        } catch (const io::incomplete_read& incomplete) {
            CHECK(incomplete.partial() == "again");
            CHECK(std::string(incomplete.what()).find("descriptor") != std::string::npos);
        }
        CHECK_THROWS_AS(from.read_exactly(1), io::incomplete_read);
        CHECK_THROWS_AS(from.read_until(""), fiber::invalid_option);
        from.close();
        CHECK(from.read_exactly(std::string(1, ' '), error) == 0);
        CHECK(error == io::errc::closed);
        CHECK_THROWS_AS(to.write_all("x"), std::system_error);
        CHECK_THROWS_AS(io::pipe_reader().read_all(), std::system_error);
        CHECK_THROWS_AS(io::pipe_writer().write_all("x"), std::system_error);
    });
}

TEST_CASE("a cancelled read of everything leaves what came in the string") {
    on_each_worker_count([] {
        auto [from, to] = io::pipe();
        std::string into;
        std::error_code error;
        auto reader = fiber::spawn([&, &from = from] { from.read_all(into, 100, error); });
        to.write_all("came");
        CHECK(yield_until([&, &from = from] { return unread_bytes(from) == 0; }));
        reader.cancel();
        reader.wait();
        CHECK(reader.cancelled());
        CHECK(into == "came");
    });
}

TEST_CASE("a stream that was moved has what was buffered; the one it was moved from is empty") {
    on_each_worker_count([] {
        auto [from, to] = io::pipe();
        to.write_all("line\nrest");
        to.close();
        CHECK(from.read_until("\n") == "line\n");
        io::pipe_reader moved = std::move(from);
        CHECK(from.buffered() == 0);
        CHECK(moved.buffered() == 4);
        CHECK(moved.read_all() == "rest");
    });
}

TEST_CASE("plain threads read and write pipes, too") {
    auto [from, to] = io::pipe();
    std::thread writer([&, &to = to] {
        to.write_all(std::string(300'000, 'x'));
        to.close();
    });
    CHECK(from.read_all().size() == 300'000);
    writer.join();
}

TEST_CASE("a FIFO is a pipe with a name") {
    on_each_worker_count([] {
        const fiber_test::temporary_directory place;
        const std::string path = place / "fifo";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        io::pipe_reader from(io::descriptor(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)));
        io::pipe_writer to(io::descriptor(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)));
        auto reader = fiber::spawn([&] { return from.read_all(); });
        settle();
        to.write_all("by name");
        to.close();
        CHECK(reader.get() == "by name");
    });
}

TEST_CASE("a broken pipe is an error and no signal, also where the signal ends the process, or was pending before") {
    const auto result = fiber_test::run_in_child([] {
        std::signal(SIGPIPE, SIG_DFL);
        auto [from, to] = io::pipe();
        from.close();
        std::error_code error;
        (void)to.write_all("x", error);
        if (error != std::errc::broken_pipe) ::_exit(1);
        sigset_t pipe_signal;
        sigset_t pending;
        ::sigemptyset(&pipe_signal);
        ::sigaddset(&pipe_signal, SIGPIPE);
        ::sigpending(&pending);
        if (::sigismember(&pending, SIGPIPE) != 0) ::_exit(3);
        ::pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
        ::raise(SIGPIPE);
        (void)to.write_all("x", error);
        if (error != std::errc::broken_pipe) ::_exit(4);
        ::sigpending(&pending);
        if (::sigismember(&pending, SIGPIPE) != 1) ::_exit(5);
    });
    CHECK(result.succeeded());
}

TEST_CASE("without descriptors there is no pipe, and the error says so") {
    std::error_code error;
    try {
        const fiber_test::no_descriptors none;
        (void)io::pipe();
    } catch (const std::system_error& failed) {
        error = failed.code();
    }
    CHECK(error == std::errc::too_many_files_open);
}
