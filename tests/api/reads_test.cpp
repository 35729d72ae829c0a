// Reads that get less than there is, that are interrupted, and that meet: sockets, pipes, terminals and other descriptors.
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "fiber/pipe.hpp"
#include "tests/api/fixture.hpp"
#include "tests/api/net_fixture.hpp"

using namespace fiber::test;
namespace io = fiber::io;
namespace net = fiber::net;

namespace {

// What is sent while a reader waits, in pieces that one read does not give together.
struct sender {
    int fd;
    void say(const char* text, int flags = -1) const {
        const std::size_t size = std::strlen(text);
        const long sent = flags < 0 ? ::write(fd, text, size) : ::send(fd, text, size, flags);
        CHECK(sent == static_cast<long>(size));
    }
    void pass_a_descriptor(const char* with) const {
        iovec piece{const_cast<char*>(with), std::strlen(with)};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
        CHECK(::sendmsg(fd, &message, 0) == static_cast<long>(piece.iov_len));
    }
};

// A reader that waits already finds out by itself that there is more than its first read has given.
void check_all_comes(const std::function<std::string()>& read, const std::string& wanted,
                     const std::function<void()>& send) {
    std::string got;
    auto reading = fiber::spawn([&] {
        while (got.size() < wanted.size()) got += read();
    });
    settle();
    send();
    CHECK(yield_until([&] { return reading.done(); }));
    reading.cancel();
    reading.wait();
    CHECK(got == wanted);
}

template <class Source>
std::string read_a_piece(Source& from) {
    char block[100];
    return std::string(block, from.read_some(block));
}

struct socket_pair {
    explicit socket_pair(int type) { REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0); }
    ~socket_pair() { ::close(ends[1]); }
    int ends[2];
};

}  // namespace

// A short read was taken to mean that nothing is left, whatever the descriptor: who then waited for the rest, which
// stood there, waited until still more came.
TEST_CASE("a short read: what keeps messages apart is read to its end") {
    on_each_worker_count([] {
        for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
            const socket_pair both(type);
            io::descriptor near(both.ends[0]);
            const sender far{both.ends[1]};
            check_all_comes([&] { return read_a_piece(near); }, "onetwothree",
                            [&] {
                                for (const char* each : {"one", "two", "three"}) far.say(each);
                            });
        }
        int ends[2];
        REQUIRE(::pipe2(ends, O_DIRECT | O_CLOEXEC) == 0);
        io::pipe_reader near{io::descriptor(ends[0])};
        const io::descriptor far(ends[1]);
        check_all_comes([&] { return read_a_piece(near); }, "onetwo",
                        [&] {
                            for (const char* each : {"one", "two"}) sender{far.native_handle()}.say(each);
                        });
    });
}

TEST_CASE("a short read: a terminal gives its lines, however many are typed at once") {
    on_each_worker_count([] {
        const io::descriptor keyboard(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
        REQUIRE(::grantpt(keyboard.native_handle()) == 0);
        REQUIRE(::unlockpt(keyboard.native_handle()) == 0);
        char name[100];
        REQUIRE(::ptsname_r(keyboard.native_handle(), name, sizeof name) == 0);
        io::pipe_reader terminal{io::descriptor(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC))};
        check_all_comes([&] { return terminal.read_until("\n"); }, "one\ntwo\nthree\n",
                        [&] { sender{keyboard.native_handle()}.say("one\ntwo\nthree\n"); });
    });
}

TEST_CASE("a short read: an event counter gives one event after the other") {
    on_each_worker_count([] {
        io::descriptor events(::eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC));
        const std::uint64_t three = 3;
        std::string wanted;
        for (int i = 0; i < 3; ++i) wanted += std::string("\1\0\0\0\0\0\0\0", 8);
        check_all_comes([&] { return read_a_piece(events); }, wanted,
                        [&] { CHECK(::write(events.native_handle(), &three, sizeof three) == sizeof three); });
    });
}

TEST_CASE("a short read: sockets stop at urgent data, and at descriptors that are passed along") {
    on_each_worker_count([] {
        connection tcp;
        const sender far{tcp.far.native_handle()};
        check_all_comes([&] { return read_a_piece(tcp.near); }, "beforeafter",
                        [&] {
                            far.say("before", 0);
                            far.say("!", MSG_OOB);
                            far.say("after", 0);
                        });
        const socket_pair local(SOCK_STREAM);
        net::stream near{io::descriptor(local.ends[0])};
        const sender other{local.ends[1]};
        check_all_comes([&] { return read_a_piece(near); }, "withafter",
                        [&] {
                            other.pass_a_descriptor("with");
                            other.say("after");
                        });
    });
}

// More than fits into a small buffer is read straight to where it is wanted; what had come there was lost.
TEST_CASE("a long read_exactly that is timed out or cancelled leaves what came in the stream") {
    on_each_worker_count([] {
        connection both;
        const std::string first(6'000, 'a');
        const std::string second(5'000, 'b');
        both.far.write_all(first);
        CHECK_THROWS_AS(both.near.read_exactly(10'000, 10ms), fiber::timeout_error);
        std::error_code error;
        std::string into(10'000, '\0');
        CHECK(both.near.read_exactly(into, error, 0ms) == 0);
        CHECK(error == std::errc::timed_out);
        CHECK(both.near.buffered() == first.size());
        auto reading = fiber::spawn([&] { both.near.read_exactly(10'000); });
        settle();
        reading.cancel();
        CHECK_THROWS_AS(reading.get(), fiber::cancelled);
        both.far.write_all(second);
        CHECK(both.near.read_exactly(10'000) == first + second.substr(0, 4'000));
        CHECK(both.near.read_exactly(1'000) == second.substr(4'000));
        CHECK(both.near.buffered() == 0);

        both.far.write_all(first);
        both.far.close();
        try {
            both.near.read_exactly(10'000);
            FAIL("there are not so many");
        } catch (const net::incomplete_read& failure) {
            CHECK(failure.partial() == first);
        }
    });
}

// Both would have used the one buffer; the second gave back the memory that the first waited with.
TEST_CASE("a read while another one waits in the buffer is refused, and disturbs nothing") {
    on_each_worker_count([] {
        connection both;
        auto reading = fiber::spawn([&] { return both.near.read_until("\n"); });
        settle();
        char block[10];
        std::string text;
        CHECK_THROWS_AS(both.near.read_until("\n"), fiber::usage_error);
        CHECK_THROWS_AS(both.near.read_exactly(5'000), fiber::usage_error);
        CHECK_THROWS_AS(both.near.read_some(block), fiber::usage_error);
        CHECK_THROWS_AS(both.near.read_all(), fiber::usage_error);
        CHECK(what_of<fiber::usage_error>([&] { both.near.read_until("\n"); }).find("another read") != text.npos);
        both.far.write_all("a line\nand more");
        CHECK(reading.get() == "a line\n");
        CHECK(both.near.read_exactly(8) == "and more");
    });
}
