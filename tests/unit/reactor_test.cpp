// The reactor without workers, fibers or threads: fed with socket pairs and pipes, asked for events by the test itself.
#include "scheduler/io/reactor.hpp"

#include <array>
#include <cerrno>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <memory>
#include <set>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "scheduler/io/io_source.hpp"

using namespace fiber::engine;

namespace {

constexpr io_direction in = io_direction::read;
constexpr io_direction out = io_direction::write;
constexpr auto nobody = [](list_node&, bool) noexcept { return false; };

struct let_go {
    void operator()(reactor* made) const noexcept { made->release(); }
};
using owned_reactor = std::unique_ptr<reactor, let_go>;
owned_reactor make_reactor() { return owned_reactor(reactor::make()); }

// Two connected sockets, of which one is a source.
struct pair {
    pair() {
        int both[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both) == 0);
        far = both[1];
        near = std::make_unique<io_source>(both[0], io_source::ownership::owned);
    }
    ~pair() {
        if (far >= 0) ::close(far);
    }
    pair(const pair&) = delete;
    pair& operator=(const pair&) = delete;

    void send() const { REQUIRE(::send(far, "x", 1, MSG_NOSIGNAL) == 1); }
    void receive() const {
        char byte;
        REQUIRE(::recv(near->fd(), &byte, 1, 0) == 1);
    }

    std::unique_ptr<io_source> near;
    int far = -1;
};

watch_verdict watch(io_source& source, reactor& home, io_direction direction = in) {
    int error = 0;
    return source.watch(home, direction, error);
}

// Looks without waiting, and returns whom that woke.
std::vector<list_node*> poll(reactor& home) {
    std::vector<list_node*> woken;
    home.lock();
    (void)home.collect(0);
    home.deliver([&](list_node& node, bool) {
        woken.push_back(&node);
        return true;
    });
    home.unlock();
    return woken;
}

}  // namespace

TEST_SUITE_BEGIN("reactor");

TEST_CASE("a registration is kept: each edge comes, and watching again asks nobody") {
    const owned_reactor home = make_reactor();
    pair ends;
    io_source& source = *ends.near;
    (void)source.state().take(in);
    CHECK(watch(source, *home) == watch_verdict::registered);
    CHECK(home->registrations() == 1);
    CHECK(watch(source, *home) == watch_verdict::watched);
    for (int i = 0; i < 3; ++i) {
        list_node waiting;
        CHECK(source.state().await(in, waiting) == await_verdict::waiting);
        CHECK(poll(*home).empty());
        ends.send();
        CHECK(poll(*home) == std::vector<list_node*>{&waiting});
        CHECK_FALSE(source.state().take(in));  // the waiter has it
        ends.receive();
        CHECK(poll(*home).empty());
    }
}

TEST_CASE("what was ready before it is watched counts as an edge") {
    const owned_reactor home = make_reactor();
    pair ends;
    ends.send();
    (void)ends.near->state().take(in);
    CHECK(watch(*ends.near, *home) == watch_verdict::registered);
    CHECK(poll(*home).empty());
    CHECK(ends.near->state().is_ready(in));
}

TEST_CASE("the directions are watched from their first wait on, each wakes its own") {
    const owned_reactor home = make_reactor();
    pair ends;
    io_source& source = *ends.near;
    (void)source.state().take(in);
    source.state().take_all(out);
    CHECK(watch(source, *home, in) == watch_verdict::registered);
    CHECK(poll(*home).empty());
    CHECK_FALSE(source.state().is_ready(out));  // nobody asked
    list_node reader, writer;
    CHECK(source.state().await(in, reader) == await_verdict::waiting);
    CHECK(source.state().await(out, writer) == await_verdict::waiting);
    CHECK(watch(source, *home, out) == watch_verdict::registered);
    CHECK(home->registrations() == 1);
    CHECK(poll(*home) == std::vector<list_node*>{&writer});
    ends.send();
    CHECK(poll(*home) == std::vector<list_node*>{&reader});
}

TEST_CASE("a full socket is writable again when the other side has read") {
    const owned_reactor home = make_reactor();
    pair ends;
    const std::array<char, 4096> block{};
    while (::send(ends.near->fd(), block.data(), block.size(), 0) > 0) {
    }
    REQUIRE(errno == EAGAIN);
    ends.near->state().take_all(out);
    CHECK(watch(*ends.near, *home, out) == watch_verdict::registered);
    CHECK(poll(*home).empty());
    std::array<char, 4096> sink;
    while (::recv(ends.far, sink.data(), sink.size(), MSG_DONTWAIT) > 0) {
    }
    list_node writer;
    CHECK(ends.near->state().await(out, writer) == await_verdict::waiting);
    CHECK(poll(*home) == std::vector<list_node*>{&writer});
}

TEST_CASE("the end of the other side is an end for reading, and wakes the reader") {
    const owned_reactor home = make_reactor();
    pair ends;
    (void)ends.near->state().take(in);
    CHECK(watch(*ends.near, *home) == watch_verdict::registered);
    list_node reader;
    CHECK(ends.near->state().await(in, reader) == await_verdict::waiting);
    REQUIRE(::shutdown(ends.far, SHUT_WR) == 0);
    CHECK(poll(*home) == std::vector<list_node*>{&reader});
    CHECK(ends.near->state().has_ended(in));
    CHECK_FALSE(ends.near->state().has_ended(out));
    ::close(ends.far);
    ends.far = -1;
    CHECK(poll(*home).empty());
    CHECK(ends.near->state().has_ended(out));
}

TEST_CASE("an event that was fetched before its descriptor was closed does not reach a later one of the same number") {
    const owned_reactor home = make_reactor();
    auto before = std::make_unique<pair>();
    (void)before->near->state().take(in);
    CHECK(watch(*before->near, *home) == watch_verdict::registered);
    before->send();
    home->lock();
    REQUIRE(home->collect(0) == 1);
    const int number = before->near->fd();
    before.reset();
    // The same number and the same slot, of another connection.
    pair after;
    REQUIRE(after.near->fd() == number);
    (void)after.near->state().take(in);
    CHECK(watch(*after.near, *home) == watch_verdict::registered);
    list_node reader;
    CHECK(after.near->state().await(in, reader) == await_verdict::waiting);
    int woken = 0;
    home->deliver([&](list_node&, bool) { return ++woken != 0; });
    home->unlock();
    CHECK(woken == 0);
    CHECK(reader.linked());
    CHECK(poll(*home).empty());
    after.send();
    CHECK(poll(*home) == std::vector<list_node*>{&reader});
}

TEST_CASE("a duplicate that outlives the source raises nothing any more") {
    const owned_reactor home = make_reactor();
    pair ends;
    (void)ends.near->state().take(in);
    CHECK(watch(*ends.near, *home) == watch_verdict::registered);
    const int duplicate = ::dup(ends.near->fd());
    ends.near.reset();
    CHECK(home->registrations() == 0);
    ends.send();
    home->lock();
    CHECK(home->collect(0) == 0);
    home->unlock();
    ::close(duplicate);
}

TEST_CASE("an interrupt ends one wait, the one under way or the next") {
    const owned_reactor home = make_reactor();
    home->lock();
    home->interrupt();
    CHECK(home->collect(never) == 0);
    CHECK(home->collect(0) == 0);
    home->interrupt();
    home->interrupt();
    CHECK(home->collect(never) == 0);
    const nanos start = monotonic_now();
    CHECK(home->collect(start + 200'000) == 0);
    CHECK(monotonic_now() >= start + 200'000);
    home->unlock();
}

TEST_CASE("files are always ready; what cannot be watched is an error, and leaves nothing registered") {
    const owned_reactor home = make_reactor();
    io_source file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), io_source::ownership::owned);
    file.state().take_all(in);
    CHECK(watch(file, *home) == watch_verdict::watched);
    CHECK(file.state().take(in));
    CHECK(file.state().take(in));
    CHECK(home->registrations() == 0);
    io_source closed(1'000'000, io_source::ownership::borrowed);
    int error = 0;
    CHECK(closed.watch(*home, in, error) == watch_verdict::failed);
    CHECK(error == EBADF);
    CHECK(home->registrations() == 0);
}

TEST_CASE("a source goes over to the reactor where it is waited for; a reactor lives as long as its registrations") {
    owned_reactor first = make_reactor();
    const owned_reactor second = make_reactor();
    pair ends;
    (void)ends.near->state().take(in);
    CHECK(watch(*ends.near, *first) == watch_verdict::registered);
    CHECK(watch(*ends.near, *second) == watch_verdict::registered);
    CHECK(first->registrations() == 0);
    CHECK(second->registrations() == 1);
    list_node reader;
    CHECK(ends.near->state().await(in, reader) == await_verdict::waiting);
    ends.send();
    CHECK(poll(*first).empty());
    CHECK(poll(*second) == std::vector<list_node*>{&reader});
    CHECK(watch(*ends.near, *first) == watch_verdict::registered);
    first.reset();
    ends.near.reset();  // the last owner of `first`
}

TEST_CASE("closing while it is used: the number is given back by the last who leaves") {
    const owned_reactor home = make_reactor();
    pair ends;
    io_source& source = *ends.near;
    CHECK(source.state().enter(in, true) == enter_verdict::ready);
    CHECK(watch(source, *home) == watch_verdict::registered);
    CHECK(source.close(nobody));
    CHECK(::fcntl(source.fd(), F_GETFD) >= 0);
    CHECK(home->registrations() == 1);
    source.leave();
    CHECK(::fcntl(source.fd(), F_GETFD) == -1);
    CHECK(home->registrations() == 0);
    CHECK_FALSE(source.close(nobody));
}

TEST_CASE("many at once: more than a block of slots, more than a batch of events, each wakes its own") {
    constexpr int many = 400;
    const owned_reactor home = make_reactor();
    std::vector<std::unique_ptr<pair>> all;
    std::vector<std::unique_ptr<list_node>> readers;
    for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < many; ++i) {
            all.push_back(std::make_unique<pair>());
            readers.push_back(std::make_unique<list_node>());
            (void)all.back()->near->state().take(in);
            REQUIRE(watch(*all.back()->near, *home) == watch_verdict::registered);
            REQUIRE(all.back()->near->state().await(in, *readers.back()) == await_verdict::waiting);
        }
        CHECK(home->registrations() == many);
        std::set<list_node*> expected;
        for (int i = 0; i < many; i += 2) {
            all[static_cast<std::size_t>(i)]->send();
            expected.insert(readers[static_cast<std::size_t>(i)].get());
        }
        std::set<list_node*> woken;
        for (int polls = 0; polls < 10; ++polls) {
            for (list_node* each : poll(*home)) CHECK(woken.insert(each).second);
        }
        CHECK(woken == expected);
        for (int i = 0; i < many; ++i) {
            all[static_cast<std::size_t>(i)]->near->state().withdraw(*readers[static_cast<std::size_t>(i)]);
        }
        all.clear();
        readers.clear();
        CHECK(home->registrations() == 0);
    }
}

TEST_SUITE_END();
