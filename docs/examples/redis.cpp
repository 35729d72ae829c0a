// A client for Redis: its protocol (RESP 2, https://redis.io/docs/reference/protocol-spec) over a stream, and a small
// command line.
//
// Commands that come from standard input are pipelined: one fiber sends them as they come, another receives the
// replies, so that a thousand commands do not cost a thousand round trips. A channel between them bounds how many are
// under way.
#include <cctype>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "docs/examples/program.hpp"

namespace io = fiber::io;
namespace net = fiber::net;

namespace {

constexpr const char* usage =
    "usage: redis [--host NAME] [--port PORT] [--timeout SECONDS] [--] [COMMAND [ARGUMENT...]]\n"
    "  --host     name or address of the server (127.0.0.1)\n"
    "  --port     (6379)\n"
    "  --timeout  for the connection, and for each reply (5)\n"
    "Without a command: one a line from standard input, words between spaces or in \"quotes\".\n"
    "SUBSCRIBE and PSUBSCRIBE print messages until they are interrupted.\n"
    "Exit status: 0, 1 if a reply was an error or the connection failed, 2 if the command line was wrong.\n";

using words = std::vector<std::string>;

// --- the protocol ---

struct reply {
    enum class kind { status, error, integer, text, nil, array };
    kind type = kind::nil;
    std::string text;  // of status, error, text
    long long integer = 0;
    std::vector<reply> items;  // of array
};

class protocol_error : public std::runtime_error {
 public:
    explicit protocol_error(const std::string& what) : std::runtime_error("this is no Redis server: " + what) {}
};

class client {
 public:
    client(const std::string& host, std::uint16_t port, io::limit within) : server_(net::connect(host, port, within)) {}

    // Sends a command and does not wait for its reply. One fiber may send while another receives. Cancellation point.
    void send(const words& command, io::limit within) {
        std::string packet = "*" + std::to_string(command.size()) + "\r\n";
        for (const std::string& word : command) {
            packet += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
        }
        server_.write_all(packet, within);
    }

    // The reply to the first command that has none yet, or a message. Cancellation point. Throws protocol_error for
    // what is none, std::system_error, fiber::timeout_error.
    reply receive(io::limit within, int depth = 0) {
        const std::string line = server_.read_until("\r\n", longest_line, within);
        const std::string rest = line.substr(1, line.size() - 3);
        switch (line.front()) {
            case '+':
                return {.type = reply::kind::status, .text = rest, .items = {}};
            case '-':
                return {.type = reply::kind::error, .text = rest, .items = {}};
            case ':':
                return {.type = reply::kind::integer, .text = {}, .integer = number(rest), .items = {}};
            case '$':
                return text(number(rest), within);
            case '*':
                return array(number(rest), within, depth);
            default:
                throw protocol_error("a reply begins with \"" + line.substr(0, 20) + "\"");
        }
    }

 private:
    static constexpr std::size_t longest_line = 64 * 1024;
    static constexpr long long largest_text = 512LL * 1024 * 1024;  // Redis' own limit
    static constexpr long long longest_array = 1024 * 1024;
    static constexpr int deepest = 16;

    static long long number(const std::string& text) {
        long long value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size()) throw protocol_error("no number: " + text);
        return value;
    }

    reply text(long long size, io::limit within) {
        if (size == -1) return {};
        if (size < 0 || size > largest_text) throw protocol_error("a text of " + std::to_string(size) + " bytes");
        reply got{.type = reply::kind::text, .text = {}, .items = {}};
        // Memory is taken as the bytes come, not as they are promised.
        for (auto left = static_cast<std::size_t>(size) + 2; left != 0;) {
            const std::size_t block = std::min<std::size_t>(left, 1024 * 1024);
            got.text += server_.read_exactly(block, within);
            left -= block;
        }
        if (!got.text.ends_with("\r\n")) throw protocol_error("a text does not end where it should");
        got.text.resize(got.text.size() - 2);
        return got;
    }

    reply array(long long count, io::limit within, int depth) {
        if (count == -1) return {};
        if (count < 0 || count > longest_array) throw protocol_error(std::to_string(count) + " replies in an array");
        if (depth == deepest) throw protocol_error("arrays in arrays in arrays without end");
        reply got{.type = reply::kind::array, .text = {}, .items = {}};
        while (count-- > 0) got.items.push_back(receive(within, depth + 1));
        return got;
    }

    net::stream server_;
};

// --- showing ---

std::string quoted(const std::string& text) {
    std::string shown = "\"";
    for (const char c : text) {
        char code[8];
        if (c == '"' || c == '\\') {
            (shown += '\\') += c;
        } else if (std::isprint(static_cast<unsigned char>(c))) {
            shown += c;
        } else {
            std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned char>(c));
            shown += code;
        }
    }
    return shown + "\"";
}

std::string in_words(const reply& what, const std::string& indent = "") {
    switch (what.type) {
        case reply::kind::status:
            return what.text;
        case reply::kind::error:
            return "(error) " + what.text;
        case reply::kind::integer:
            return "(integer) " + std::to_string(what.integer);
        case reply::kind::text:
            return quoted(what.text);
        case reply::kind::nil:
            return "(nil)";
        case reply::kind::array:
            break;
    }
    std::string all = what.items.empty() ? "(empty)" : "";
    for (std::size_t i = 0; i < what.items.size(); ++i) {
        const std::string mark = std::to_string(i + 1) + ") ";
        all += (i != 0 ? "\n" + indent : "") + mark;
        all += in_words(what.items[i], indent + std::string(mark.size(), ' '));
    }
    return all;
}

// false: it is an error.
bool show(const reply& what) {
    example::announce(in_words(what));
    return what.type != reply::kind::error;
}

// --- the command line ---

// Lines of standard input. Waits for a pipe or terminal without blocking the thread that the other fibers need.
std::optional<std::string> next_line(std::string& buffer) {
    for (;;) {
        if (const auto end = buffer.find('\n'); end != buffer.npos) {
            std::string line = buffer.substr(0, end);
            buffer.erase(0, end + 1);
            return line;
        }
        char block[4096];
        io::wait_readable(STDIN_FILENO);
        const auto count = ::read(STDIN_FILENO, block, sizeof block);
        if (count <= 0) return buffer.empty() ? std::nullopt : std::optional(std::exchange(buffer, {}));
        buffer.append(block, static_cast<std::size_t>(count));
    }
}

words split(const std::string& line) {
    words found;
    bool inside = false, in_quotes = false;
    for (const char c : line) {
        if (c == '"') {
            in_quotes = !in_quotes;
        } else if (!in_quotes && std::isspace(static_cast<unsigned char>(c))) {
            inside = false;
            continue;
        }
        if (!std::exchange(inside, true)) found.emplace_back();
        if (c != '"') found.back() += c;
    }
    if (in_quotes) throw std::invalid_argument("quotes without an end: " + line);
    return found;
}

int run_lines(client& server, std::chrono::seconds patience) {
    fiber::channel<bool> under_way(1000);
    bool all_well = true;
    // If one of the two fails, the group cancels the other.
    fiber::with_task_group([&](fiber::task_group& both) {
        both.spawn([&] {
            std::string buffer;
            while (const auto line = next_line(buffer)) {
                const words command = split(*line);
                if (command.empty()) continue;
                under_way.push(true);
                server.send(command, patience);
            }
            under_way.close();
        });
        while (under_way.pop()) all_well &= show(server.receive(patience));
    });
    return all_well ? 0 : 1;
}

int run_command(client& server, const words& command, std::chrono::seconds patience) {
    std::string name = command.front();
    for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    server.send(command, patience);
    if (!show(server.receive(patience))) return 1;
    while (name == "SUBSCRIBE" || name == "PSUBSCRIBE") show(server.receive({}));  // until somebody ends us
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    return example::program(usage, argc, argv, [](example::arguments& given) {
        const std::string host = given.text("--host", "127.0.0.1");
        const auto port = static_cast<std::uint16_t>(given.number("--port", 6379, 1, 65535));
        const std::chrono::seconds patience(given.number("--timeout", 5, 1, 3600));
        const words command = given.operands();
        return fiber::run([&] {
            client server(host, port, patience);
            return command.empty() ? run_lines(server, patience) : run_command(server, command, patience);
        });
    });
}
