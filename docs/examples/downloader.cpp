// Downloads many files at once over HTTP: at most so many at a time, each attempt with a time limit, and again if that
// may help.
//
// Each download is a fiber of straight-line code. A semaphore says how many may be under way, with_timeout() bounds an
// attempt as a whole (name, connection, answer, file), and cancelling a task ends it wherever it waits, with its
// clean-up. Files are written by threads for calls that block.
#include <atomic>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "docs/examples/http_response.hpp"
#include "docs/examples/program.hpp"

using namespace std::chrono_literals;
namespace net = fiber::net;

namespace {

constexpr const char* usage =
    "usage: downloader [--jobs N] [--timeout SECONDS] [--retries N] [--output DIRECTORY] [--] [URL...]\n"
    "  --jobs     so many downloads at once (8)\n"
    "  --timeout  for one attempt (60)\n"
    "  --retries  so many attempts more, after lost connections, time-outs and errors of the server (3)\n"
    "  --output   where the files go; each is named after the last part of its URL (.)\n"
    "Without a URL: one a line from standard input. http:// only. SIGINT and SIGTERM cancel what is not done.\n"
    "Exit status: 0, 1 if not all could be downloaded, 2 if the command line was wrong.\n";

struct settings {
    std::size_t jobs;
    unsigned retries;
    std::chrono::seconds timeout;
    std::filesystem::path output;
};

struct download {
    std::string url;
    std::string file;
    std::string problem = "cancelled";  // until something else is known; empty: done
    unsigned tries = 0;
    std::uint64_t bytes = 0;
    std::chrono::duration<double> time{};
};

// What all downloads have come to so far.
struct totals {
    std::atomic<std::uint64_t> bytes{0};
    std::atomic<std::size_t> finished{0};
};

// --- files ---

// A file under its final name only when it is complete. On the way it is NAME.part, which goes if it never is.
class partial_file {
 public:
    explicit partial_file(std::filesystem::path name) : name_(std::move(name)), part_(name_.string() + ".part") {
        file_.reset(std::fopen(part_.c_str(), "wbe"), [](std::FILE* file) { file != nullptr&& std::fclose(file); });
        if (file_ == nullptr) fail();
        std::setbuf(file_.get(), nullptr);  // so that an error shows where it happens
    }
    ~partial_file() {
        std::error_code ignored;
        if (file_ != nullptr) std::filesystem::remove(part_, ignored);
    }
    partial_file(const partial_file&) = delete;
    partial_file& operator=(const partial_file&) = delete;

    // Cancellation point. The thread owns what it uses: if this fiber is cancelled, the call goes on without it.
    void write(std::string block) {
        const auto written = fiber::to_thread([file = file_, block = std::move(block)] {
            return std::fwrite(block.data(), 1, block.size(), file.get()) == block.size();
        });
        if (!written) fail();
    }
    void complete() {
        std::error_code error;
        std::filesystem::rename(part_, name_, error);
        if (error) fail();
        file_.reset();
    }

 private:
    [[noreturn]] void fail() const { throw http::permanent("cannot write " + part_.string()); }

    const std::filesystem::path name_, part_;
    std::shared_ptr<std::FILE> file_;
};

// --- one download ---

// Copies `left` bytes, or up to the end if there is no such number.
void copy(net::stream& from, partial_file& to, std::optional<std::uint64_t> left, download& mine, totals& all) {
    while (left != 0) {
        std::string block(std::min<std::uint64_t>(left.value_or(64 * 1024), 64 * 1024), '\0');
        block.resize(from.read_some(block));
        if (block.empty() && left) throw std::runtime_error(std::to_string(*left) + " bytes are missing at the end");
        if (block.empty()) return;
        mine.bytes += block.size();
        all.bytes += block.size();
        if (left) *left -= block.size();
        to.write(std::move(block));
    }
}

void attempt(download& mine, const settings& set, totals& all) {
    const http::address where = http::parse(mine.url);
    net::stream server = net::connect(where.host, where.port);
    server.write_all("GET " + where.target + " HTTP/1.1\r\nHost: " + where.host + ":" + std::to_string(where.port) +
                     "\r\nUser-Agent: fiber-downloader\r\nConnection: close\r\n\r\n");
    const http::head got = http::read_head(server);
    if (got.status >= 500 || got.status == 429) throw std::runtime_error("HTTP " + got.status_line);
    if (got.status != 200) throw http::permanent("HTTP " + got.status_line);
    partial_file file(set.output / mine.file);
    mine.bytes = 0;
    if (got.chunked) {
        while (const auto size = http::number(server.read_until("\r\n", 1024), 16)) {
            copy(server, file, size, mine, all);
            server.read_exactly(2);
        }
    } else {
        copy(server, file, got.length, mine, all);
    }
    file.complete();
}

void fetch(download& mine, const settings& set, totals& all, bool talk) {
    const auto begin = fiber::now();
    for (auto pause = 100ms;; pause *= 2) {
        ++mine.tries;
        mine.problem = "cancelled";
        try {
            fiber::with_timeout(set.timeout, [&] { attempt(mine, set, all); });
            mine.problem.clear();
            break;
        } catch (const http::permanent& error) {
            mine.problem = error.what();
            break;
        } catch (const std::exception& error) {
            mine.problem = error.what();
            if (mine.tries > set.retries) break;
            if (talk)
                example::announce("again in " + std::to_string(pause.count()) + " ms: " + mine.url + ": " +
                                  error.what());
        }
        fiber::sleep_for(pause);
    }
    mine.time = fiber::now() - begin;
    ++all.finished;
    if (talk) example::announce((mine.problem.empty() ? "done: " : "failed: ") + mine.url);
}

// --- all of them ---

void draw(const totals& all, std::size_t count) {
    const std::size_t marks = 40 * all.finished / count;
    const std::string bar = std::string(marks, '#') + std::string(40 - marks, '.');
    std::printf("\r[%s] %zu of %zu, %.1f MB ", bar.c_str(), all.finished.load(), count,
                static_cast<double>(all.bytes) / 1e6);
    std::fflush(stdout);
}

std::vector<download> plan(const std::vector<std::string>& urls) {
    std::vector<download> all;
    std::set<std::string> used;
    for (const std::string& url : urls) {
        const std::string path = url.substr(0, url.find_first_of("?#"));
        std::string name = path.substr(path.rfind('/') + 1);
        if (name.empty() || name == "." || name == ".." || path.find('/', 7) == path.npos) name = "index.html";
        for (int number = 2; !used.insert(name).second; ++number) name += "." + std::to_string(number);
        all.push_back({.url = url, .file = name});
    }
    return all;
}

int report(const std::vector<download>& all) {
    std::size_t failed = 0;
    std::printf("%-6s %12s %5s %8s  %s\n", "", "bytes", "tries", "seconds", "file, or what went wrong");
    for (const download& each : all) {
        failed += each.problem.empty() ? 0 : 1;
        std::printf("%-6s %12llu %5u %8.2f  %s\n", each.problem.empty() ? "done" : "FAILED",
                    static_cast<unsigned long long>(each.bytes), each.tries, each.time.count(),
                    (each.problem.empty() ? each.file : each.url + ": " + each.problem).c_str());
    }
    std::printf("%zu done, %zu failed\n", all.size() - failed, failed);
    return failed == 0 ? 0 : 1;
}

bool is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }

struct permit {
    explicit permit(fiber::counting_semaphore<>& from) : from(from) { from.acquire(); }
    ~permit() { from.release(); }
    fiber::counting_semaphore<>& from;
};

int download_all(const std::vector<std::string>& urls, const settings& set) {
    const bool terminal = is_terminal();
    std::vector<download> all = plan(urls);
    totals sum;
    fiber::signals stop{SIGINT, SIGTERM};
    fiber::counting_semaphore<> jobs(static_cast<std::ptrdiff_t>(set.jobs));
    std::vector<fiber::task<void>> tasks;
    for (download& each : all) {
        tasks.push_back(fiber::spawn([&] {
            const permit mine(jobs);
            fetch(each, set, sum, !terminal);
        }));
    }
    auto stopping = fiber::spawn([&] {
        stop.wait();
        for (auto& each : tasks) each.cancel();
    });
    auto drawing = fiber::spawn([&] {
        for (; is_terminal(); fiber::sleep_for(100ms)) draw(sum, all.size());
    });
    fiber::gather(fiber::return_exceptions, tasks);
    drawing.cancel();
    drawing.wait();
    if (terminal) draw(sum, all.size()), std::printf("\n");
    return report(all);
}

}  // namespace

int main(int argc, char** argv) {
    return example::program(usage, argc, argv, [](example::arguments& given) {
        const settings set{.jobs = given.number("--jobs", 8, 1, 10'000),
                           .retries = given.number("--retries", 3, 0, 100),
                           .timeout = std::chrono::seconds(given.number("--timeout", 60, 1, 86'400)),
                           .output = given.text("--output", ".")};
        std::vector<std::string> urls = given.operands();
        if (urls.empty()) {
            for (std::string line; std::getline(std::cin, line);) {
                if (!line.empty()) urls.push_back(line);
            }
        }
        if (urls.empty()) throw example::wrong_usage("no URL");
        if (!std::filesystem::is_directory(set.output))
            throw example::wrong_usage(set.output.string() + " is no directory");
        return fiber::run([&] { return download_all(urls, set); });
    });
}
