// The load, the same for every server: one thread, one epoll, N connections in a closed loop. Each connection sends a
// request, waits until the whole answer has come back, compares it with what it must be, and sends the next request.
//
//   io_load echo|http PORT CONNECTIONS SECONDS WARM_UP_SECONDS SERVER_PID
//       prints the figures of SECONDS after the warm-up as one JSON object
//   io_load idle PORT CONNECTIONS
//       opens the connections to an echo server, uses each once, prints "ready" and keeps them until its input ends
//
// echo: 64 bytes that differ from every other message's, so that an answer which belongs elsewhere is noticed.
// http: a GET as short as wrk's. wrk itself needs two system calls more for each request than a server, and so is often
// the slower side; this load costs about as much as the hand-written server.
// Every connection has been answered once before anything is measured: all of them are open and accepted.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <time.h>
#include <vector>

#include "bench/io/histogram.hpp"
#include "bench/io/servers/protocol.hpp"
#include "bench/io/sockets.hpp"

namespace bench {
namespace {

constexpr std::uint64_t second = 1'000'000'000;
constexpr std::uint64_t patience = 5 * second;  // without any answer at all: the server hangs

std::uint64_t now() {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * second + static_cast<std::uint64_t>(t.tv_nsec);
}

double cpu_seconds(clockid_t clock) {
    timespec t{};
    checked(::clock_gettime(clock, &t), "clock_gettime");
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct connection {
    int socket = -1;
    std::uint32_t number = 0;
    std::uint64_t sequence = 0;  // of the message on its way
    std::uint64_t sent = 0;      // when
    std::size_t received = 0;    // how much of it is back
    std::uint64_t answers = 0;   // in the measured time
};

using message = std::array<char, 64>;

message numbered(const connection& c) {
    message m;
    m.fill('.');
    std::memcpy(m.data(), &c.sequence, sizeof c.sequence);
    std::memcpy(m.data() + sizeof c.sequence, &c.number, sizeof c.number);
    return m;
}

// What is sent, and what must come back.
struct echo_exchange {
    static message request(const connection& c) { return numbered(c); }
    static message answer(const connection& c) { return numbered(c); }
};
struct http_exchange {
    static std::string_view request(const connection&) { return "GET / HTTP/1.1\r\nHost: 127.0.0.1:12345\r\n\r\n"; }
    static std::string_view answer(const connection&) { return hello_response; }
};

template <class Exchange>
void send_next(connection& c, std::uint64_t time) {
    ++c.sequence;
    c.received = 0;
    c.sent = time;
    const auto request = Exchange::request(c);
    const ssize_t n = ::send(c.socket, request.data(), request.size(), MSG_NOSIGNAL);
    // The socket's buffer is empty, since all was answered: a short request always fits.
    if (checked(static_cast<int>(n), "send") != static_cast<int>(request.size()))
        throw std::runtime_error("short send");
}

// Takes what has come back; true once the answer is complete. Throws if it is not the right one.
template <class Exchange>
bool receive(connection& c) {
    std::array<char, 128> buffer;
    const ssize_t n = ::recv(c.socket, buffer.data(), buffer.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    checked(static_cast<int>(n), "recv");
    if (n == 0) throw std::runtime_error("the server closed connection " + std::to_string(c.number));
    const auto expected = Exchange::answer(c);
    const auto size = static_cast<std::size_t>(n);
    if (c.received + size > expected.size() || std::memcmp(buffer.data(), expected.data() + c.received, size) != 0)
        throw std::runtime_error("a wrong answer on connection " + std::to_string(c.number));
    c.received += size;
    return c.received == expected.size();
}

// Opens the connections, one after the other, and uses each once.
template <class Exchange>
std::vector<connection> open_all(std::uint16_t port, int count) {
    const timeval limit{patience / second, 0};
    std::vector<connection> all(static_cast<std::size_t>(count));
    for (std::uint32_t i = 0; i < all.size(); ++i) {
        connection& c = all[i];
        c.number = i;
        c.socket = connect_to_loopback(port);
        checked(::setsockopt(c.socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "setsockopt");
        send_next<Exchange>(c, 0);
        while (!receive<Exchange>(c))
            if (errno == EAGAIN) throw std::runtime_error("no answer on connection " + std::to_string(i) + " for 5 s");
    }
    return all;
}

template <class Exchange>
class closed_loop {
 public:
    closed_loop(std::uint16_t port, int connections, pid_t server)
        : connections_(open_all<Exchange>(port, connections)) {
        epoll_ = checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
        if (::clock_getcpuclockid(server, &server_clock_) != 0) throw std::runtime_error("no such server process");
        for (connection& c : connections_) {
            checked(::fcntl(c.socket, F_SETFL, O_NONBLOCK), "fcntl");
            epoll_event event{};
            event.events = EPOLLIN | EPOLLET;
            event.data.ptr = &c;
            checked(::epoll_ctl(epoll_, EPOLL_CTL_ADD, c.socket, &event), "epoll_ctl");
        }
    }

    void run(double seconds, double warm_up) {
        for (connection& c : connections_) send_next<Exchange>(c, now());
        run_until(now() + static_cast<std::uint64_t>(warm_up * second));
        latencies_.clear();
        for (connection& c : connections_) c.answers = 0;
        const std::uint64_t start = now();
        const double server = cpu_seconds(server_clock_), own = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
        run_until(start + static_cast<std::uint64_t>(seconds * second));
        print(static_cast<double>(now() - start) / second, cpu_seconds(server_clock_) - server,
              cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - own);
    }

 private:
    void run_until(std::uint64_t end) {
        std::array<epoll_event, 256> events;
        for (std::uint64_t time = now(), last = time; time < end; time = now()) {
            const int n = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 100);
            if (n < 0 && errno == EINTR) continue;
            for (int i = 0; i < checked(n, "epoll_wait"); ++i)
                on_ready(*static_cast<connection*>(events[static_cast<std::size_t>(i)].data.ptr));
            if (n > 0) last = time;
            if (time - last > patience) throw std::runtime_error("no answer for 5 s");
        }
    }

    void on_ready(connection& c) {
        if (!receive<Exchange>(c)) return;
        const std::uint64_t time = now();
        latencies_.add(time - c.sent);
        ++c.answers;
        send_next<Exchange>(c, time);
    }

    void print(double seconds, double server_cpu, double own_cpu) const {
        const auto starved =
            std::count_if(connections_.begin(), connections_.end(), [](const connection& c) { return c.answers == 0; });
        const auto microseconds = [&](double fraction) { return latencies_.percentile(fraction) * 1e-3; };
        std::printf(
            "{\"requests\": %llu, \"seconds\": %.9f, \"server_cpu\": %.9f, \"load_cpu\": %.9f, \"starved\": %td, "
            "\"p50_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f}\n",
            static_cast<unsigned long long>(latencies_.total()), seconds, server_cpu, own_cpu, starved,
            microseconds(0.5), microseconds(0.99), microseconds(0.999));
    }

    std::vector<connection> connections_;
    int epoll_ = -1;
    clockid_t server_clock_{};
    histogram latencies_;
};

void hold_idle(std::uint16_t port, int connections) {
    const auto all = open_all<echo_exchange>(port, connections);
    std::puts("ready");
    std::fflush(stdout);
    while (std::getchar() != EOF) {
    }
}

template <class Exchange>
void measure(const std::vector<std::string>& words) {
    closed_loop<Exchange> load(static_cast<std::uint16_t>(std::stoi(words[1])), std::stoi(words[2]),
                               std::stoi(words[5]));
    load.run(std::stod(words[3]), std::stod(words[4]));
}

int run(const std::vector<std::string>& words) {
    if (words.size() == 6 && words[0] == "echo")
        measure<echo_exchange>(words);
    else if (words.size() == 6 && words[0] == "http")
        measure<http_exchange>(words);
    else if (words.size() == 3 && words[0] == "idle")
        hold_idle(static_cast<std::uint16_t>(std::stoi(words[1])), std::stoi(words[2]));
    else
        return std::fputs(
                   "usage: io_load echo|http PORT CONNECTIONS SECONDS WARM_UP_SECONDS SERVER_PID\n"
                   "       io_load idle PORT CONNECTIONS\n",
                   stderr),
               2;
    return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
    try {
        return bench::run({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "io_load: %s\n", error.what());
        return 1;
    }
}
