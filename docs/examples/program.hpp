// What the larger examples share: the command line, exit statuses, and the polite end of a connection.
//
// Exit statuses: 0 all went well, 1 something failed (standard error says what), 2 the command line was wrong.
#pragma once

#include <fiber/fiber.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace example {

class wrong_usage : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The words of the command line. Each option is asked for by its name, "--name value" or "--name=value", and taken out;
// what is left at the end are the operands. Behind "--" there are only operands.
class arguments {
 public:
    arguments(int argc, char** argv) : words_(argv + 1, argv + argc) {}

    bool flag(std::string_view name) {
        const auto at = std::find(words_.begin(), end_of_options(), name);
        if (at == end_of_options()) return false;
        words_.erase(at);
        return true;
    }

    std::string text(std::string_view name, std::string value) {
        for (auto at = words_.begin(); at != end_of_options(); ++at) {
            if (*at == name) {
                if (at + 1 == words_.end()) throw wrong_usage(std::string(name) + " needs a value");
                value = at[1];
                words_.erase(at, at + 2);
                return value;
            }
            if (at->starts_with(name) && at->substr(name.size()).starts_with("=")) {
                value = at->substr(name.size() + 1);
                words_.erase(at);
                return value;
            }
        }
        return value;
    }

    unsigned number(std::string_view name, unsigned value, unsigned least, unsigned most) {
        const std::string given = text(name, std::to_string(value));
        const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
        if (error != std::errc() || end != given.data() + given.size() || value < least || value > most) {
            throw wrong_usage(std::string(name) + " must be a number from " + std::to_string(least) + " to " +
                              std::to_string(most) + ", not \"" + given + "\"");
        }
        return value;
    }

    std::vector<std::string> operands() {
        const auto divider = end_of_options();
        const auto unknown =
            std::find_if(words_.begin(), divider, [](const std::string& word) { return word.starts_with("--"); });
        if (unknown != divider) throw wrong_usage("unknown option " + *unknown);
        if (divider != words_.end()) words_.erase(divider);
        return words_;
    }
    void no_operands() {
        if (!operands().empty()) throw wrong_usage("unexpected \"" + words_.front() + "\"");
    }

 private:
    std::vector<std::string>::iterator end_of_options() { return std::find(words_.begin(), words_.end(), "--"); }

    std::vector<std::string> words_;
};

// Calls body(arguments&), and returns the status to end with.
template <class Body>
int program(const char* usage, int argc, char** argv, Body body) {
    try {
        arguments given(argc, argv);
        if (given.flag("--help")) return std::fputs(usage, stdout) < 0;
        return body(given);
    } catch (const wrong_usage& error) {
        std::fprintf(stderr, "%s: %s\n%s", argv[0], error.what(), usage);
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
}

// A line that whoever waits for it sees at once.
inline void announce(const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
}

// Closes so that the peer reads what was written last: while something of his is unread, a close() would be a reset,
// which overtakes it.
inline void close_gently(fiber::net::stream& peer) {
    std::error_code error;
    char block[4096];
    const auto until = fiber::now() + std::chrono::seconds(1);
    try {
        peer.shutdown();
        while (peer.read_some(block, error, until) != 0) {
        }
    } catch (const std::system_error&) {
        // He has gone already.
    }
    peer.close();
}

}  // namespace example
