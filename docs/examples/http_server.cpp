// An HTTP/1.1 server: a small router, and the files below a directory.
//
// One fiber for each connection, straight-line code: read a request, answer, again. The stream keeps what came behind a
// request, so pipelined requests are served one after the other without more ado. Every wait has a limit: for the whole
// head of a request, not for each of its bytes, so that one who sends a byte now and then does not stay for ever.
#include <ctime>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <sys/socket.h>

#include "docs/examples/http_request.hpp"
#include "docs/examples/program.hpp"

using namespace std::chrono_literals;
namespace net = fiber::net;

namespace {

constexpr const char* usage =
    "usage: http_server [--host ADDRESS] [--port PORT] [--root DIRECTORY] [--patience SECONDS]\n"
    "  --host      numeric address to listen on (127.0.0.1)\n"
    "  --port      0: any free one; it is printed (8080)\n"
    "  --root      what no route knows is looked for here (nowhere)\n"
    "  --patience  for the head of a request, for its body, and for each block of an answer to be taken (15)\n"
    "Routes: GET /hello, POST /echo. Try: curl http://127.0.0.1:8080/hello\n";

constexpr std::size_t file_block = 256 * 1024;

struct settings {
    std::filesystem::path root;  // empty: no files
    std::chrono::seconds patience;
};

// --- connections that wait for a request: when the server stops, they have nothing to lose ---

class idle_connections {
 public:
    // A connection is among them while it stands.
    class stay {
     public:
        stay(idle_connections& all, net::stream& mine) : all_(all), mine_(mine) {
            const std::lock_guard guard(all_.lock_);
            all_.streams_.insert(&mine_);
            if (all_.stopping_) end(mine_);
        }
        ~stay() {
            const std::lock_guard guard(all_.lock_);
            all_.streams_.erase(&mine_);
        }
        stay(const stay&) = delete;
        stay& operator=(const stay&) = delete;

     private:
        idle_connections& all_;
        net::stream& mine_;
    };

    void stop() {
        const std::lock_guard guard(lock_);
        stopping_ = true;
        for (net::stream* each : streams_) end(*each);
    }
    bool stopping() {
        const std::lock_guard guard(lock_);
        return stopping_;
    }

 private:
    // Its reader finds the end, behind what has come already.
    static void end(net::stream& idle) { ::shutdown(idle.native_handle(), SHUT_RD); }

    fiber::mutex lock_;
    std::set<net::stream*> streams_;
    bool stopping_ = false;
};

// --- answers ---

const char* reason(int status) {
    constexpr std::pair<int, const char*> known[] = {{200, "OK"},
                                                     {400, "Bad Request"},
                                                     {404, "Not Found"},
                                                     {405, "Method Not Allowed"},
                                                     {408, "Request Timeout"},
                                                     {413, "Content Too Large"},
                                                     {414, "URI Too Long"},
                                                     {431, "Request Header Fields Too Large"},
                                                     {501, "Not Implemented"},
                                                     {505, "HTTP Version Not Supported"}};
    const auto at = std::ranges::find(known, status, &std::pair<int, const char*>::first);
    return at != std::end(known) ? at->second : "Unknown";
}

std::string head_of(const http::request& to, int status, std::string_view type, std::uint64_t size) {
    char date[64];
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", ::gmtime_r(&now, &utc));
    return "HTTP/1.1 " + std::to_string(status) + " " + reason(status) + "\r\nDate: " + date +
           "\r\nContent-Type: " + std::string(type) + "\r\nContent-Length: " + std::to_string(size) +
           (status == 405 ? "\r\nAllow: GET, HEAD, POST" : "") +
           (to.keep_alive ? "\r\nConnection: keep-alive\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
}

void answer(net::stream& peer, const http::request& to, int status, std::string_view body, const settings& set) {
    const std::string head = head_of(to, status, "text/plain; charset=utf-8", body.size());
    const fiber::io::const_bytes pieces[] = {head, body};
    peer.write_all(pieces, to.method == "HEAD" ? 1 : 2, set.patience);  // both in one system call
}

void answer(net::stream& peer, const http::request& to, int status, const settings& set) {
    answer(peer, to, status, std::string(reason(status)) + "\n", set);
}

// --- files: their calls block, so they are made on threads for that (fiber::to_thread) ---

struct open_file {
    std::shared_ptr<std::FILE> handle;
    std::uint64_t size = 0;
    std::string type;
};

// "%41" -> "A". What is no such code stays.
std::string decoded(std::string_view path) {
    std::string plain;
    for (std::size_t i = 0; i < path.size(); ++i) {
        unsigned char code = 0;
        if (path[i] == '%' && i + 2 < path.size() &&
            std::from_chars(path.data() + i + 1, path.data() + i + 3, code, 16).ptr == path.data() + i + 3) {
            plain += static_cast<char>(code);
            i += 2;
        } else {
            plain += path[i];
        }
    }
    return plain;
}

std::string type_of(const std::filesystem::path& path) {
    constexpr std::pair<std::string_view, const char*> known[] = {{".html", "text/html; charset=utf-8"},
                                                                  {".txt", "text/plain; charset=utf-8"},
                                                                  {".css", "text/css"},
                                                                  {".js", "text/javascript"},
                                                                  {".json", "application/json"},
                                                                  {".png", "image/png"},
                                                                  {".svg", "image/svg+xml"}};
    const std::string extension = path.extension();
    const auto at = std::ranges::find(known, extension, &std::pair<std::string_view, const char*>::first);
    return at != std::end(known) ? at->second : "application/octet-stream";
}

// Blocks. No handle: there is no such file, or it is not below the root, neither by ".." nor by a symbolic link.
open_file open_below(const std::filesystem::path& root, const std::string& path) {
    std::error_code error;
    if (path.find('\0') != path.npos) return {};
    auto place = std::filesystem::canonical(root / path.substr(1), error);
    if (is_directory(place, error)) place = std::filesystem::canonical(place / "index.html", error);
    const bool below = std::ranges::mismatch(root, place).in1 == root.end();
    if (error || !below || !is_regular_file(place, error)) return {};
    open_file found{{std::fopen(place.c_str(), "rbe"), [](std::FILE* file) { file != nullptr&& std::fclose(file); }},
                    file_size(place, error),
                    type_of(place)};
    if (error) found.handle.reset();
    return found;
}

void send_file(net::stream& peer, const http::request& to, const settings& set) {
    // Calls on threads own what they use: when this fiber is cancelled, it goes, and the call still runs.
    const open_file file = fiber::to_thread(open_below, set.root, decoded(to.path));
    if (file.handle == nullptr) return answer(peer, to, 404, set);
    peer.write_all(head_of(to, 200, file.type, file.size), set.patience);
    for (std::uint64_t left = to.method == "HEAD" ? 0 : file.size; left != 0;) {
        const std::string block = fiber::to_thread([handle = file.handle, left] {
            std::string read(std::min<std::uint64_t>(left, file_block), '\0');
            read.resize(std::fread(read.data(), 1, read.size(), handle.get()));
            return read;
        });
        if (block.empty()) return peer.reset();  // it has shrunk: the length we promised cannot be kept
        peer.write_all(block, set.patience);
        left -= block.size();
    }
}

// --- the router ---

struct route {
    std::string_view method, path;
    std::string (*make)(const http::request&);
};
constexpr route routes[] = {
    {"GET", "/hello", [](const http::request&) { return std::string("hello\n"); }},
    {"POST", "/echo", [](const http::request& got) { return got.body; }},
};

void respond(net::stream& peer, const http::request& got, const settings& set) {
    const std::string_view method = got.method == "HEAD" ? "GET" : std::string_view(got.method);
    bool known_path = false;
    for (const route& each : routes) {
        if (got.path != each.path) continue;
        if (method == each.method) return answer(peer, got, 200, each.make(got), set);
        known_path = true;
    }
    if (method != "GET" && method != "POST") return answer(peer, got, 501, set);
    if (known_path) return answer(peer, got, 405, set);
    if (method != "GET" || set.root.empty()) return answer(peer, got, 404, set);
    send_file(peer, got, set);
}

// The next request. None: the client has gone, said nothing, or the server stops. Throws refusal.
std::optional<http::request> next_request(net::stream& peer, idle_connections& idle, const settings& set) {
    const auto until = fiber::now() + set.patience;
    std::string line;
    {
        const idle_connections::stay here(idle, peer);
        if (!http::read_line(peer, line, http::longest_line, 414, until)) return std::nullopt;
        // One empty line before a request is passed over (RFC 9112, 2.2).
        if (line.empty() && !http::read_line(peer, line, http::longest_line, 414, until)) return std::nullopt;
    }
    return http::read_request(peer, std::move(line), until, set.patience);
}

void handle(net::stream peer, idle_connections& idle, const settings& set) {
    try {
        try {
            while (std::optional<http::request> got = next_request(peer, idle, set)) {
                if (idle.stopping()) got->keep_alive = false;
                respond(peer, *got, set);
                if (!got->keep_alive) break;
            }
        } catch (const http::refusal& why) {
            http::request unknown;
            unknown.keep_alive = false;
            answer(peer, unknown, why.status, set);
        }
        example::close_gently(peer);
    } catch (const std::exception&) {
        // The client has gone, or does not take the answer: there is nobody to tell.
    }
}

void serve(net::listener& door, fiber::signals& stop, const settings& set) {
    idle_connections idle;
    auto stopping = fiber::spawn([&] {
        stop.wait();
        example::announce("stopping");
        door.close();
        idle.stop();
    });
    net::serve(door, [&](net::stream peer) { handle(std::move(peer), idle, set); });
    stopping.get();
}

}  // namespace

int main(int argc, char** argv) {
    return example::program(usage, argc, argv, [](example::arguments& given) {
        const std::string address = given.text("--host", "127.0.0.1");
        const auto port = static_cast<std::uint16_t>(given.number("--port", 8080, 0, 65535));
        const std::string root = given.text("--root", "");
        const settings set{.root = root.empty() ? std::filesystem::path() : std::filesystem::canonical(root),
                           .patience = std::chrono::seconds(given.number("--patience", 15, 1, 3600))};
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
