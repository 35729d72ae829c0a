// The edges of endpoints, options, names, datagrams and Unix sockets: what cannot be meant is refused, what was closed
// says so, what is set is set.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/api/net_fixture.hpp"
#include "tests/api/virtual_time.hpp"
#include "tests/support/temporary_directory.hpp"

using namespace fiber::test;
using namespace std::string_view_literals;
namespace io = fiber::io;
namespace net = fiber::net;

namespace {

int option_of(int fd, int level, int option) {
    int value = -1;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, level, option, &value, &size) == 0 ? value : -1;
}

// A name in the abstract space of Unix sockets, for one test.
net::endpoint abstract(const std::string& name) {
    return net::endpoint::unix_path(std::string(1, '\0') + name + std::to_string(::getpid()));
}

bool has_ipv6() {
    try {
        const net::listener six("::1", 0);
        return true;
    } catch (const std::system_error& none) {
        MESSAGE("no IPv6 here: " << none.what());
        return false;
    }
}

}  // namespace

// The C functions below look no further than to the first zero byte: another host was asked, another file made.
TEST_CASE("names and addresses with a zero byte in them are refused, and not cut off there") {
    on_each_worker_count([] {
        using refused = fiber::invalid_option;
        CHECK(has(what_of<refused>([] { (void)net::endpoint::ip("127.0.0.1\0.evil"sv, 80); }),
                  "\"127.0.0.1\"): has a zero"));
        CHECK(has(what_of<refused>([] { (void)net::endpoint::unix_path("/tmp/a\0b"sv); }), "\"/tmp/a\"): has a zero"));
        CHECK(has(what_of<refused>([] { (void)net::resolve("localhost\0.evil"sv, 80); }),
                  "resolve \"localhost\": has a zero"));
        CHECK(has(what_of<refused>([] { (void)net::connect("localhost\0.evil"sv, 80); }), "has a zero byte"));
        CHECK(has(what_of<refused>([] { (void)net::resolve("", 80); }), "the name is empty"));
        CHECK_NOTHROW((void)net::endpoint::unix_path("\0a\0b"sv));  // abstract names may
        CHECK(net::endpoint::unix_path("\0a\0b"sv).to_string() == "unix:@a@b");
    });
}

TEST_CASE("options that cannot be meant are refused") {
    on_each_worker_count([] {
        const auto refuses = [](auto&& f, const char* what) { return has(what_of<fiber::invalid_option>(f), what); };
        CHECK(refuses([] { net::listener door(loopback(), {.send_buffer = -1}); }, "send_buffer: -1"));
        CHECK(refuses([] { net::datagram_socket made(AF_INET, {.receive_buffer = -5}); }, "receive_buffer: -5"));
        CHECK(refuses([] { (void)net::connect(loopback(1), {}, {.send_buffer = -1}); }, "send_buffer: -1"));
        CHECK(refuses([] { net::listener door(loopback(), {}, -1); }, "backlog of -1"));
    });
}

TEST_CASE("options are set on the sockets that they are for") {
    on_each_worker_count([] {
        const connection plain;
        CHECK(option_of(plain.near.native_handle(), IPPROTO_TCP, TCP_NODELAY) != 0);
        CHECK(option_of(plain.far.native_handle(), IPPROTO_TCP, TCP_NODELAY) != 0);
        CHECK(option_of(plain.near.native_handle(), SOL_SOCKET, SO_KEEPALIVE) == 0);
        CHECK(option_of(plain.door.native_handle(), SOL_SOCKET, SO_REUSEADDR) != 0);
        connection other({.no_delay = false, .keep_alive = true, .reuse_port = true, .receive_buffer = 8192});
        const int near = other.near.native_handle();
        CHECK(option_of(near, IPPROTO_TCP, TCP_NODELAY) == 0);
        CHECK(option_of(near, SOL_SOCKET, SO_KEEPALIVE) != 0);
        CHECK(option_of(near, SOL_SOCKET, SO_RCVBUF) < option_of(plain.near.native_handle(), SOL_SOCKET, SO_RCVBUF));
        CHECK(option_of(other.door.native_handle(), SOL_SOCKET, SO_REUSEPORT) != 0);
        other.near.no_delay(true);
        other.near.keep_alive(false);
        CHECK(option_of(near, IPPROTO_TCP, TCP_NODELAY) != 0);
        CHECK(option_of(near, SOL_SOCKET, SO_KEEPALIVE) == 0);
    });
}

// They went to the number that the object had had, which by then may be another's.
TEST_CASE("what is set or shut down after close() says that it was closed") {
    on_each_worker_count([] {
        connection both;
        net::datagram_socket datagrams(loopback());
        both.near.close();
        datagrams.close();
        CHECK(has(what_of([&] { both.near.no_delay(true); }), "it was closed on this side"));
        CHECK(has(what_of([&] { both.near.shutdown(); }), "it was closed on this side"));
        CHECK(has(what_of([&] { datagrams.connect(loopback(9)); }), "it was closed on this side"));
        CHECK(has(what_of([&] { net::stream().keep_alive(true); }), "it was closed on this side"));
        both.near.reset();  // nothing
    });
}

TEST_CASE("each operation can report into an error code") {
    on_each_worker_count([] {
        std::error_code error = std::make_error_code(std::errc::io_error);
        connection both;
        CHECK(both.near.write("hello", error) == 5);
        CHECK(!error);
        CHECK(both.far.read_exactly(5) == "hello");
        both.near.close();
        CHECK(both.near.write("hello", error) == 0);
        CHECK(error == io::errc::closed);
        net::datagram_socket a(loopback()), b(loopback());
        char block[8];
        a.send("x", error);
        CHECK(error == std::errc::destination_address_required);
        a.connect(b.local());
        a.send("datagram and more", error);
        CHECK(!error);
        bool cut_off = false;
        CHECK(b.receive(block, error, patience, &cut_off) == 8);
        CHECK(!error);
        CHECK(cut_off);
        a.send("short");
        CHECK(b.receive(block, patience, &cut_off) == 5);
        CHECK(!cut_off);
        CHECK(b.receive(block, error, 0ms) == 0);
        CHECK(error == std::errc::timed_out);
    });
}

TEST_CASE("an address that belongs to an interface is named with it") {
    const std::vector<net::endpoint> found = fiber::run([] { return net::resolve("fe80::1%1", 80); });
    REQUIRE(found.size() == 1);
    CHECK(found.front().to_string() == "[fe80::1%1]:80");
}

TEST_CASE("IPv6: streams, datagrams, and a listener that takes both families or one") {
    if (!has_ipv6()) return;
    on_each_worker_count([] {
        net::datagram_socket a(net::endpoint::ip("::1", 0)), b(net::endpoint::ip("::1", 0));
        a.send_to("six", b.local());
        char block[8];
        net::endpoint from;
        CHECK(b.receive_from(block, from, patience) == 3);
        CHECK(from == a.local());
        CHECK(has(from.to_string(), "[::1]:"));
        net::listener both("::", 0);
        net::stream four = net::connect("127.0.0.1", both.port(), patience);
        CHECK(both.accept(patience).peer().to_string() == "[::ffff:127.0.0.1]:" + std::to_string(four.local().port()));
        net::stream six = net::connect("::1", both.port(), patience);
        CHECK(both.accept(patience).peer() == six.local());
        net::listener only("::", 0, {.v6_only = true});
        CHECK(has(what_of([&] { (void)net::connect("127.0.0.1", only.port()); }), "refused"));
    });
}

// The kernel tells nobody when there is room again in the backlog of a Unix socket: the connection is tried again.
TEST_CASE("Unix sockets: a full backlog holds connections up; they can be timed and cancelled") {
    in_virtual_time([] {
        net::listener door(abstract("fiber-backlog-"), {}, 0);
        std::vector<net::stream> inside;
        const auto start = virtual_now();
        const std::string what = what_of<fiber::timeout_error>([&] {
            for (;;) inside.push_back(net::connect(door.local(), 5s));
        });
        CHECK(has(what, "connect to unix:@fiber-backlog-"));
        CHECK(virtual_now() - start >= 5s);
        CHECK(!inside.empty());
        auto waits = fiber::spawn([&] { (void)net::connect(door.local()); });
        auto goes_on = fiber::spawn([&] { return net::connect(door.local()); });
        fiber::sleep_for(1s);
        CHECK(!goes_on.done());
        CHECK(waits.cancel());
        CHECK_THROWS_AS(waits.get(), fiber::cancelled);
        const net::stream first = door.accept();
        const net::stream last = goes_on.get();
        CHECK(last.is_open());
    });
}

TEST_CASE("Unix sockets in the file system: the path is named in errors, and streams and datagrams go through it") {
    on_each_worker_count([] {
        const fiber_test::temporary_directory place;
        const std::string path = place / "door";
        CHECK(has(what_of([&] { (void)net::connect(net::endpoint::unix_path(path)); }),
                  "connect to unix:" + path + ": No such"));
        {
            net::listener door(net::endpoint::unix_path(path));
            CHECK(has(what_of([&] { net::listener again(door.local()); }), "bind to unix:" + path));
            net::stream far = net::connect(door.local());
            net::stream near = door.accept();
            CHECK(far.peer().to_string() == "unix:" + path);
            CHECK(near.peer().to_string() == "unix:(unnamed)");
            near.shutdown();
            far.write_all("half of it is open still");
            far.shutdown();
            CHECK(near.read_all(100, patience) == "half of it is open still");
            CHECK(far.read_all(100, patience).empty());
        }
        CHECK(has(what_of([&] { (void)net::connect(net::endpoint::unix_path(path)); }), "refused"));
    });
}

TEST_CASE("a datagram for a Unix socket that is full waits; it can be timed and cancelled, and none is lost") {
    on_each_worker_count([] {
        net::datagram_socket to(abstract("fiber-datagrams-"));
        net::datagram_socket from(AF_UNIX);
        const std::string message(1000, 'x');
        std::size_t sent = 0;
        std::error_code error;
        for (;; ++sent) {
            from.send_to(message, to.local(), error, 0ms);
            if (error) break;
        }
        CHECK(error == std::errc::timed_out);
        CHECK(sent > 0);
        CHECK_THROWS_AS(from.send_to(message, to.local(), 1ms), fiber::timeout_error);
        auto given_up = fiber::spawn([&] { from.send_to(message, to.local()); });
        settle();
        CHECK(given_up.cancel());
        CHECK_THROWS_AS(given_up.get(), fiber::cancelled);
        auto sending = fiber::spawn([&] { from.send_to("the last", to.local(), patience); });
        char block[2000];
        for (std::size_t i = 0; i < sent; ++i) CHECK(to.receive(block, patience) == 1000);
        CHECK(to.receive(block, patience) == 8);
        sending.get();
        from.close();
        CHECK_THROWS_AS((void)to.receive(block, 0ms), fiber::timeout_error);
    });
}

// Each try made the reactor report room, so that the next one followed at once, and the worker never slept: in virtual
// time, no time passed.
TEST_CASE("while a datagram waits for a Unix socket that others have filled, its worker sleeps") {
    in_virtual_time([] {
        net::datagram_socket to(abstract("fiber-filled-"));
        net::datagram_socket others(AF_UNIX);
        net::datagram_socket from(AF_UNIX);
        std::error_code error;
        std::size_t sent = 0;
        for (; !error; ++sent) others.send_to("x", to.local(), error, 0ms);
        const auto start = virtual_now();
        CHECK_THROWS_AS(from.send_to("mine", to.local(), 10s), fiber::timeout_error);
        CHECK(took(start, 10s));
        auto sending = fiber::spawn([&] { from.send_to("mine", to.local()); });
        settle();
        char block[10];
        while (--sent != 0) CHECK(to.receive(block) == 1);
        CHECK(to.receive(block) == 4);
        sending.get();
        auto given_up = fiber::spawn([&] {
            for (;;) from.send_to("x", to.local());
        });
        settle();
        from.close();
        CHECK(has(what_of([&] { given_up.get(); }), "closed"));
    });
}

TEST_CASE("close() ends a datagram's wait, to send and to receive, with an error that says so") {
    on_each_worker_count([] {
        net::datagram_socket one(loopback());
        auto receiving = fiber::spawn([&] {
            char byte;
            return what_of([&] { (void)one.receive({&byte, 1}); });
        });
        settle();
        const std::string where = one.local().to_string();
        one.close();
        CHECK(has(receiving.get(), "receive on " + where + ": it was closed on this side"));
    });
}
