// Files: what is written is read again, errors name operation and path, and a cancelled caller's memory is left alone.
#include "fiber/file.hpp"

#include <cstdarg>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/api/fixture.hpp"
#include "tests/api/virtual_time.hpp"
#include "tests/support/no_descriptors.hpp"
#include "tests/support/temporary_directory.hpp"

using namespace fiber::test;
namespace io = fiber::io;
using fiber::open_mode;
using fiber_test::temporary_directory;

namespace {

std::string pattern(std::size_t size) {
    std::string text(size, ' ');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 1000) % 26);
    return text;
}

template <class F>
std::system_error failure_of(F f) {
    try {
        f();
    } catch (const std::system_error& failed) {
        return failed;
    }
    return std::system_error(std::error_code(), "no failure");
}

// While it lives, nothing is in the page cache; while it is held, reads on threads do not return, either.
std::atomic<bool> nothing_cached{false};
std::atomic<bool> reads_held{false};
std::atomic<int> reads_begun{0};
std::atomic<int> fifos_begun{0};
struct slow_disk {
    slow_disk() {
        reads_begun = 0;
        nothing_cached = true;
    }
    ~slow_disk() { reads_held = nothing_cached = false; }
};

// Keeps the only thread for blocking calls busy.
struct busy_thread {
    busy_thread() {
        call.emplace(fiber::run_in_executor([this] { (void)spin_until([this] { return over.load(); }); }));
    }
    ~busy_thread() { end(); }
    void end() {
        over = true;
        if (call) call->get();
        call.reset();
    }
    std::atomic<bool> over{false};
    std::optional<fiber::future<void>> call;
};

}  // namespace

extern "C" ssize_t preadv64v2(int fd, const iovec* pieces, int count, off64_t offset, int flags) {
    if (nothing_cached) {
        errno = EAGAIN;
        return -1;
    }
    return ::syscall(SYS_preadv2, fd, pieces, count, offset, 0, flags);
}

extern "C" int open64(const char* path, int flags, ...) {
    std::va_list more;
    va_start(more, flags);
    const mode_t permissions = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (std::string_view(path).ends_with("/fifo") && (flags & O_ACCMODE) == O_RDONLY) ++fifos_begun;
    return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, permissions));
}

extern "C" ssize_t pread64(int fd, void* into, size_t size, off64_t offset) {
    ++reads_begun;
    (void)spin_until([] { return !reads_held; });
    return ::syscall(SYS_pread64, fd, into, size, offset);
}

TEST_CASE("what is written is read again: at offsets, behind the end, as a whole") {
    on_each_worker_count([] {
        const temporary_directory place;
        fiber::file data(place / "data", open_mode::create);
        CHECK(data.is_open());
        CHECK(data.native_handle() >= 0);
        CHECK(data.size() == 0);
        const std::string much = pattern(3'000'000);
        data.write_at(much, 10);
        CHECK(data.size() == much.size() + 10);
        std::string again(much.size(), ' ');
        CHECK(data.read_at(again, 10) == again.size());
        CHECK(again == much);
        CHECK(data.read_at(again, 1'000'010) == 2'000'000);  // the rest of it
        CHECK(again.substr(0, 2'000'000) == much.substr(1'000'000));
        CHECK(data.read_at(again, 5'000'000) == 0);
        CHECK(data.read_at({again.data(), 10}, 0) == 10);
        CHECK(again.substr(0, 10) == std::string(10, '\0'));  // the gap
        data.append("the end");
        CHECK(data.read_all() == std::string(10, '\0') + much + "the end");
        data.write_all("short");
        CHECK(data.read_all() == "short");
        data.resize(7);
        CHECK(data.read_all() == std::string("short\0\0", 7));
        data.sync();
        CHECK(data.path() == place / "data");
        data.close();
        data.close();
        CHECK_FALSE(data.is_open());
        CHECK(data.native_handle() == -1);
        CHECK(fiber::read_file(place / "data") == std::string("short\0\0", 7));
        fiber::write_file(place / "data", "new");
        CHECK(fiber::read_file(place / "data") == "new");
    });
}

TEST_CASE("what is not in the page cache is read by a thread, and is the same") {
    on_each_worker_count([] {
        const temporary_directory place;
        const std::string much = pattern(3'000'000);
        fiber::write_file(place / "data", much);
        const slow_disk disk;
        fiber::file data(place / "data");
        std::string again(much.size() + 5, ' ');
        CHECK(data.read_at(again, 0) == much.size());
        CHECK(again.substr(0, much.size()) == much);
        CHECK(reads_begun >= 3);
    });
}

TEST_CASE("modes: what must exist, what must not, what is emptied, who may write") {
    on_each_worker_count([] {
        const temporary_directory place;
        const std::string path = place / "file";
        const auto code = [](auto f) { return failure_of(f).code(); };
        CHECK(code([&] { fiber::file f(path); }) == std::errc::no_such_file_or_directory);
        CHECK(code([&] { fiber::file f(path, open_mode::update); }) == std::errc::no_such_file_or_directory);
        fiber::file(path, open_mode::create, 0640).append("made");
        struct stat what {};
        CHECK(::stat(path.c_str(), &what) == 0);
        CHECK((what.st_mode & 0777) == 0640);
        CHECK(code([&] { fiber::file f(path, open_mode::create); }) == std::errc::file_exists);
        fiber::file(path, open_mode::append).append(", and more");
        CHECK(fiber::read_file(path) == "made, and more");
        fiber::file(path, open_mode::update).write_at("M", 0);
        CHECK(fiber::read_file(path) == "Made, and more");
        CHECK(code([&] { fiber::file(path).write_at("x", 0); }) == std::errc::bad_file_descriptor);
        fiber::file emptied(path, open_mode::write);
        CHECK(emptied.read_all().empty());
        CHECK((::fcntl(emptied.native_handle(), F_GETFD) & FD_CLOEXEC) != 0);
    });
}

TEST_CASE("errors name the operation, the path and the cause; overloads with an error code return it") {
    on_each_worker_count([] {
        const temporary_directory place;
        const auto missing = failure_of([] { fiber::file f("/no/such/file"); });
        CHECK(has(missing.what(), "open \"/no/such/file\": No such file"));
        CHECK(has(failure_of([] { (void)fiber::read_file("/no/such/file"); }).what(), "read \"/no/such/file\""));
        CHECK(has(failure_of([] { fiber::write_file("/no/such/file", "x"); }).what(), "write \"/no/such/file\""));
        fiber::file directory("/");
        char byte;
        CHECK(failure_of([&] { (void)directory.read_at({&byte, 1}, 0); }).code() == std::errc::is_a_directory);
        CHECK(failure_of([&] { (void)directory.read_all(); }).code() == std::errc::is_a_directory);
        std::error_code error;
        CHECK(directory.read_at({&byte, 1}, 0, error) == 0);
        CHECK(error == std::errc::is_a_directory);
        fiber::file full("/dev/full", open_mode::update);
        CHECK(full.write_at("x", 0, error) == 0);
        CHECK(error == std::errc::no_space_on_device);
        CHECK(has(failure_of([&] { full.write_at("x", 0); }).what(), "write \"/dev/full\": No space"));
        CHECK(full.append("x", error) == 0);
        CHECK(error == std::errc::no_space_on_device);
        REQUIRE(::mkfifo((place / "pipe").c_str(), 0600) == 0);
        fiber::file pipe(place / "pipe", open_mode::update);
        for (const bool end : {false, true}) {
            CHECK((end ? pipe.append("x", error) : pipe.write_at("x", 0, error)) == 0);
            CHECK(error == std::errc::invalid_seek);
        }
        CHECK(pipe.read_at({&byte, 1}, 0, error) == 0);
        CHECK(error == std::errc::invalid_seek);
        fiber::file closed;
        CHECK(closed.path().empty());
        CHECK(closed.read_at({&byte, 1}, 0, error) == 0);
        CHECK(error == io::errc::closed);
        CHECK(closed.write_at("x", 0, error) == 0);
        CHECK(error == io::errc::closed);
        CHECK(failure_of([&] { (void)closed.size(); }).code() == io::errc::closed);
        CHECK(failure_of([&] { closed.sync(); }).code() == io::errc::closed);
        closed.close();
    });
}

TEST_CASE("what cannot be meant is refused; more than the limit is an error") {
    on_each_worker_count([] {
        const temporary_directory place;
        const std::string path = place / "file";
        CHECK_THROWS_AS(fiber::file(""), fiber::invalid_option);
        CHECK_THROWS_AS(fiber::file(std::string("a\0b", 3)), fiber::invalid_option);
        CHECK_THROWS_AS(fiber::file(path, static_cast<open_mode>(77)), fiber::invalid_option);
        CHECK_THROWS_AS((void)fiber::read_file(""), fiber::invalid_option);
        fiber::file data(path, open_mode::write);
        char byte;
        CHECK_THROWS_AS((void)data.read_at({&byte, 1}, ~std::uint64_t{0}), fiber::invalid_option);
        CHECK_THROWS_AS(data.write_at("x", ~std::uint64_t{0}), fiber::invalid_option);
        CHECK_THROWS_AS(data.resize(~std::uint64_t{0}), fiber::invalid_option);
        data.write_all("0123456789");
        CHECK(data.read_all(10) == "0123456789");
        CHECK_THROWS_AS(data.read_all(9), io::limit_overrun);
        CHECK_THROWS_AS((void)fiber::read_file(path, 9), io::limit_overrun);
        CHECK_THROWS_AS((void)fiber::read_file("/dev/zero", 100'000), io::limit_overrun);
        CHECK(has(fiber::read_file("/proc/self/status"), "Name:"));  // has no size, and content
    });
}

TEST_CASE("without descriptors nothing is opened, and the error says so") {
    std::error_code error;
    std::string what;
    try {
        const fiber_test::no_descriptors none;
        fiber::file f("/dev/null");
    } catch (const std::system_error& failed) {
        error = failed.code();
        what = failed.what();
    }
    CHECK(error == std::errc::too_many_files_open);
    CHECK(has(what, "open \"/dev/null\""));
}

TEST_CASE("a read that is cancelled is given up at once; its memory is not touched later, and the file is closed") {
    on_each_worker_count([] {
        const temporary_directory place;
        fiber::write_file(place / "data", std::string(1000, 'x'));
        const long before = open_descriptors();
        {
            const slow_disk disk;
            auto data = std::make_unique<fiber::file>(place / "data");
            reads_held = true;
            std::string into(1000, ' ');
            auto reader = fiber::spawn([&] { (void)data->read_at(into, 0); });
            CHECK(yield_until([] { return reads_begun == 1; }));
            reader.cancel();
            reader.wait();
            CHECK(reader.cancelled());
            data.reset();  // the thread still reads
            CHECK(open_descriptors() == before + 1);
            reads_held = false;
            CHECK(yield_until([&] { return open_descriptors() == before; }));
            CHECK(into == std::string(1000, ' '));
        }
        const slow_disk disk;
        fiber::file data(place / "data");
        reads_held = true;
        const auto times_out = [](auto read) {
            const int begun = reads_begun;
            auto reader = fiber::spawn([&] { (void)read(); });
            CHECK(yield_until([&] { return reads_begun == begun + 1; }));  // before that it would not be read at all
            CHECK_THROWS_AS(fiber::wait_for(reader, 0s), fiber::timeout_error);
        };
        times_out([&] { return data.read_all(); });
        times_out([&] { return fiber::read_file(data.path()); });
        reads_held = false;
        data.close();
        CHECK(yield_until([&] { return open_descriptors() == before; }));
    });
}

TEST_CASE("an open that waits for a FIFO's other end can be cancelled, and what it opens later is closed") {
    on_each_worker_count([] {
        const temporary_directory place;
        const std::string fifo = place / "fifo";
        REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
        const long before = open_descriptors();
        fifos_begun = 0;
        auto opener = fiber::spawn([&] { fiber::file f(fifo); });
        CHECK(yield_until([] { return fifos_begun == 1; }));
        opener.cancel();
        opener.wait();
        CHECK(opener.cancelled());
        int other = -1;
        CHECK(yield_until([&] {
            other = ::open(fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);  // fails while nobody opens it to read
            return other >= 0;
        }));
        ::close(other);
        CHECK(yield_until([&] { return open_descriptors() == before; }));
    });
}

TEST_CASE("a write that was handed over is waited for when its caller is cancelled; nothing is written after that") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(fiber::runtime_options{.workers = workers, .offload_threads = 1});
        fixture.run([] {
            const temporary_directory place;
            fiber::file data(place / "data", open_mode::write);
            busy_thread busy;
            auto writer = fiber::spawn([&] {
                const std::string mine(100'000, 'x');
                data.write_at(mine, 0);
                fiber::yield();
            });
            settle();
            writer.cancel();
            for (int i = 0; i < 10; ++i) fiber::yield();
            CHECK_FALSE(writer.done());
            busy.end();
            writer.wait();
            CHECK(writer.cancelled());
            CHECK(data.read_all() == std::string(100'000, 'x'));
            auto late = fiber::spawn([&] {
                fiber::this_fiber::cancel();
                data.write_all("never");
            });
            CHECK_THROWS_AS(late.get(), fiber::cancelled);
            CHECK(data.size() == 100'000);
        });
    });
}

TEST_CASE("a file that ends with a cancelled task is closed, and the cancellation is not lost") {
    on_each_worker_count([] {
        const temporary_directory place;
        const std::string path = place / "data";
        const long before = open_descriptors();
        auto task = fiber::spawn([&] {
            {
                fiber::file data(path, open_mode::write);
                fiber::this_fiber::cancel();
            }
            fiber::yield();
            FAIL("the cancellation was lost");
        });
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(open_descriptors() == before);
    });
}

TEST_CASE("many fibers read and write one file at once") {
    on_each_worker_count([] {
        const temporary_directory place;
        fiber::file data(place / "data", open_mode::write);
        std::vector<fiber::task<void>> all;
        for (int i = 0; i < 50; ++i) {
            all.push_back(fiber::spawn([&, i] {
                const std::string mine(10'000, static_cast<char>('a' + i % 26));
                data.write_at(mine, static_cast<std::uint64_t>(i) * 10'000);
                std::string again(10'000, ' ');
                CHECK(data.read_at(again, static_cast<std::uint64_t>(i) * 10'000) == 10'000);
                CHECK(again == mine);
            }));
        }
        fiber::gather(all);
        CHECK(data.size() == 500'000);
        all.clear();
        fiber::file log(place / "log", open_mode::append);
        for (int i = 0; i < 50; ++i) all.push_back(fiber::spawn([&] { log.append("a line\n"); }));
        fiber::gather(all);
        CHECK(log.size() == 50 * 7);
        fiber::file moved = std::move(log);
        CHECK_FALSE(log.is_open());
        CHECK(moved.size() == 50 * 7);
        moved = fiber::file(place / "data");
        CHECK(moved.size() == 500'000);
    });
}

TEST_CASE("one who reads from the cache without end does not starve the others") {
    runtime_fixture fixture(1);
    fixture.run([] {
        const temporary_directory place;
        fiber::file data(place / "data", open_mode::write);
        data.write_all("x");
        std::atomic<bool> stop{false};
        auto greedy = fiber::spawn([&] {
            char byte;
            while (!stop) CHECK(data.read_at({&byte, 1}, 0) == 1);
        });
        for (int i = 0; i < 10; ++i) fiber::yield();
        stop = true;
        greedy.get();
    });
}

TEST_CASE("files on plain threads and in virtual time") {
    const temporary_directory place;
    const std::string path = place / "data";
    {
        fiber::file data(path, open_mode::write);
        data.write_at("0123456789", 0);
        std::string again(4, ' ');
        CHECK(data.read_at(again, 3) == 4);
        CHECK(again == "3456");
        CHECK(data.size() == 10);
        data.sync();
        data.close();
    }
    in_virtual_time([&] {
        CHECK(fiber::read_file(path) == "0123456789");
        fiber::file(path, open_mode::append).append("!");
        CHECK(fiber::file(path).size() == 11);
    });
}
