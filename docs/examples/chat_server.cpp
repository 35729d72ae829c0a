// A chat server for many at once: lines of text, nicknames, everybody hears everybody.
//
// Each connection has two fibers: one reads its lines, one writes what the others say. Between them stands a channel of
// bounded size, the outbox. Who speaks never waits for who listens: one whose outbox is full does not read fast enough,
// and is dropped. So neither a slow nor a silent client costs the others anything, nor the server memory.
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "docs/examples/program.hpp"

using namespace std::chrono_literals;
namespace net = fiber::net;

namespace {

constexpr const char* usage =
    "usage: chat_server [--host ADDRESS] [--port PORT] [--idle SECONDS] [--outbox LINES]\n"
    "  --host    numeric address to listen on (127.0.0.1)\n"
    "  --port    0: any free one; it is printed (7000)\n"
    "  --idle    who says nothing for so long is disconnected (600)\n"
    "  --outbox  lines that may wait for one client before he is dropped as too slow (256)\n"
    "Talk to it with: nc 127.0.0.1 7000. The first line is the nickname; /who lists, /quit leaves.\n";

constexpr std::size_t longest_line = 1024;
constexpr std::size_t longest_name = 32;
constexpr auto write_limit = 10s;  // for one line; then the client does not read at all

// Shared by all outboxes that it waits in.
using line = std::shared_ptr<const std::string>;

struct member {
    member(net::stream& peer, std::string name, std::size_t lines) : peer(peer), name(std::move(name)), outbox(lines) {}

    net::stream& peer;
    const std::string name;
    fiber::channel<line> outbox;
};

// Who is here. Invariant: the outbox of a member is open exactly while he is in the room; who takes him out closes it.
class room {
 public:
    bool enter(member& who) {
        const std::lock_guard guard(lock_);
        if (closed_ || !members_.try_emplace(who.name, &who).second) return false;
        say_locked("* " + who.name + " has come", nullptr);
        return true;
    }

    void leave(member& who) {
        const std::lock_guard guard(lock_);
        const auto at = members_.find(who.name);
        if (at == members_.end() || at->second != &who) return;
        remove_locked(at);
        say_locked("* " + who.name + " has left", nullptr);
    }

    void say(const std::string& text, const member* except) {
        const std::lock_guard guard(lock_);
        say_locked(text, except);
    }

    std::string names() {
        const std::lock_guard guard(lock_);
        std::string all = "* here:";
        for (const auto& [name, who] : members_) all += " " + name;
        return all;
    }

    void close() {
        const std::lock_guard guard(lock_);
        closed_ = true;
        say_locked("* the server stops", nullptr);
        while (!members_.empty()) remove_locked(members_.begin());
    }

 private:
    using place = std::map<std::string, member*>::iterator;

    void say_locked(const std::string& text, const member* except) {
        const line shared = std::make_shared<const std::string>(text + "\n");
        std::vector<std::string> dropped;
        for (auto at = members_.begin(); at != members_.end();) {
            member& who = *at->second;
            if (&who == except || who.outbox.try_push(shared)) {
                ++at;
                continue;
            }
            dropped.push_back(who.name);
            at = remove_locked(at);
            who.peer.close();  // wakes both of his fibers
        }
        for (const std::string& name : dropped) say_locked("* " + name + " was dropped: does not read", nullptr);
    }

    place remove_locked(place at) {
        at->second->outbox.close();
        return members_.erase(at);
    }

    fiber::mutex lock_;
    std::map<std::string, member*> members_;
    bool closed_ = false;
};

// In the room as long as it stands.
class presence {
 public:
    presence(room& where, member& who) : room_(where), member_(who), entered_(where.enter(who)) {}
    ~presence() { leave(); }
    presence(const presence&) = delete;
    presence& operator=(const presence&) = delete;

    explicit operator bool() const { return entered_; }
    void leave() {
        if (entered_) room_.leave(member_);
    }

 private:
    room& room_;
    member& member_;
    const bool entered_;
};

struct settings {
    std::chrono::seconds idle;
    std::size_t outbox;
};

// What ends a conversation, and is said to the client.
class goodbye : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The next line, without its end and without control characters. false: the client has gone. Throws goodbye.
bool read_line(net::stream& peer, std::string& into, const settings& set) {
    std::error_code error;
    peer.read_until(into, "\n", longest_line, error, set.idle);
    if (error == fiber::io::errc::limit_overrun) throw goodbye("* line too long, goodbye\n");
    if (error == std::errc::timed_out) throw goodbye("* idle for too long, goodbye\n");
    std::erase_if(into, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
    return !error;
}

// Writes what comes into the outbox until that is closed, and then the end.
void write_lines(member& who, room& here) {
    try {
        for (const line& next : who.outbox) who.peer.write_all(*next, write_limit);
        who.peer.shutdown();
    } catch (const std::exception&) {  // he has gone, or does not read
        here.leave(who);
        who.peer.close();  // ends the reading, too
    }
}

void converse(member& self, room& here, const settings& set) {
    try {
        for (std::string text; read_line(self.peer, text, set);) {
            if (text == "/quit") return;
            if (text == "/who") {
                self.outbox.push(std::make_shared<const std::string>(here.names() + "\n"));
            } else if (!text.empty()) {
                here.say(self.name + ": " + text, &self);
            }
        }
    } catch (const goodbye& reason) {
        self.outbox.push(std::make_shared<const std::string>(reason.what()));
    }
}

std::string ask_for_name(net::stream& peer, const settings& set) {
    std::string name;
    peer.write_all("* nickname?\n", write_limit);
    read_line(peer, name, set);
    if (name.empty() || name.size() > longest_name) throw goodbye("* a nickname has from 1 to 32 bytes\n");
    return name;
}

void host(net::stream& peer, room& here, const settings& set) {
    member self(peer, ask_for_name(peer, set), set.outbox);
    presence present(here, self);
    if (!present) throw goodbye("* this nickname is taken\n");
    auto writing = fiber::spawn(write_lines, std::ref(self), std::ref(here));
    converse(self, here, set);
    present.leave();  // closes the outbox: the writer writes what is in it, and ends
    writing.get();
}

void handle(net::stream peer, room& here, const settings& set) {
    try {
        try {
            host(peer, here, set);
        } catch (const goodbye& reason) {
            peer.write_all(reason.what(), write_limit);
        }
        example::close_gently(peer);
    } catch (const std::exception&) {
        // The client has gone in the middle of something: there is nobody to tell.
    }
}

void serve(net::listener& door, fiber::signals& stop, const settings& set) {
    room here;
    auto stopping = fiber::spawn([&] {
        stop.wait();
        example::announce("stopping");
        door.close();  // first, so that nobody comes after the farewell
        here.close();
    });
    net::serve(door, [&](net::stream peer) { handle(std::move(peer), here, set); }, {.grace = 1s});
    stopping.get();
}

}  // namespace

int main(int argc, char** argv) {
    return example::program(usage, argc, argv, [](example::arguments& given) {
        const std::string address = given.text("--host", "127.0.0.1");
        const auto port = static_cast<std::uint16_t>(given.number("--port", 7000, 0, 65535));
        const settings set{.idle = std::chrono::seconds(given.number("--idle", 600, 1, 1'000'000)),
                           .outbox = given.number("--outbox", 256, 1, 1'000'000)};
        given.no_operands();
        return fiber::run([&] {
            fiber::signals stop{SIGINT, SIGTERM};
            net::listener door(address, port);
            example::announce("listening on " + door.local().to_string());
            serve(door, stop, set);
            return 0;
        });
    });
}
