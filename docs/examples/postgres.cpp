// Queries to PostgreSQL, several at once: libpq's non-blocking interface on fibers.
//
// libpq never waits by itself when it is asked not to: it says what it would wait for, and on which descriptor. So each
// of its steps becomes an ordinary function that parks its fiber: io::wait_readable and io::wait_writable are all that
// it takes. A call of libpq that blocks all the same, PQcancel, goes to a thread.
#include <iostream>
#include <libpq-fe.h>
#include <memory>
#include <string>
#include <vector>

#include "docs/examples/program.hpp"

using namespace std::chrono_literals;
namespace io = fiber::io;

namespace {

constexpr const char* usage =
    "usage: postgres [--db CONNECTION] [--connections N] [--timeout SECONDS] [--] [QUERY...]\n"
    "  --db           libpq's connection string (\"\": what the PG... variables of the environment say)\n"
    "  --connections  so many queries run at once (4)\n"
    "  --timeout      for a connection, and for each query, which is then cancelled on the server (30)\n"
    "Without a query: one a line from standard input. Prints rows, tab-separated, in the order of the queries.\n"
    "SIGINT and SIGTERM cancel what runs. Exit status: 0, 1 if a query failed, 2 if the command line was wrong.\n";

// What the server, or libpq, says.
class database_error : public std::runtime_error {
 public:
    explicit database_error(std::string message) : std::runtime_error(trimmed(message)) {}

 private:
    static std::string trimmed(std::string& text) { return text.substr(0, text.find_last_not_of(" \n") + 1); }
};

using result = std::unique_ptr<PGresult, decltype(&PQclear)>;

// Used by one fiber at a time. All its waits are cancellation points.
class connection {
 public:
    // Throws database_error, fiber::timeout_error.
    connection(const std::string& where, std::chrono::seconds patience)
        : connection_(PQconnectStart(where.c_str()), &PQfinish) {
        fiber::with_timeout(patience, [this] { connect(); });
    }

    // The query's last result. If it takes too long, or the fiber is cancelled, the server is told to give it up, and
    // the connection can be used again. Throws database_error, fiber::timeout_error.
    result query(const std::string& text, std::chrono::seconds patience) {
        return fiber::with_timeout(patience, [&] {
            try {
                return run(text);
            } catch (const fiber::cancelled&) {
                fiber::uncancellable([this] { cancel(); });
                throw;  // with_timeout knows whether it was the time, and throws timeout_error then
            }
        });
    }

    // Neither lost, nor in the middle of something that could not be cancelled, nor in a transaction left open.
    bool usable() const { return PQstatus(handle()) == CONNECTION_OK && PQtransactionStatus(handle()) == PQTRANS_IDLE; }

 private:
    PGconn* handle() const { return connection_.get(); }
    int socket() const { return PQsocket(handle()); }
    [[noreturn]] void fail() const { throw database_error(PQerrorMessage(handle())); }

    void connect() {
        if (handle() == nullptr) throw std::bad_alloc();
        if (PQstatus(handle()) == CONNECTION_BAD) fail();
        // The descriptor may be another one after each step: libpq tries one address after the other.
        for (auto next = PGRES_POLLING_WRITING; next != PGRES_POLLING_OK; next = PQconnectPoll(handle())) {
            if (next == PGRES_POLLING_FAILED) fail();
            next == PGRES_POLLING_READING ? io::wait_readable(socket()) : io::wait_writable(socket());
        }
        if (PQsetnonblocking(handle(), 1) != 0) fail();
    }

    // Sends what libpq has kept, which a long query is. It must read meanwhile: so it waits for both.
    void flush() {
        for (int left = PQflush(handle()); left != 0; left = PQflush(handle())) {
            if (left < 0) fail();
            std::vector<fiber::task<void>> either;
            either.push_back(fiber::spawn([this] { io::wait_readable(socket()); }));
            either.push_back(fiber::spawn([this] { io::wait_writable(socket()); }));
            (void)fiber::wait(either, fiber::first_completed);
            if (PQconsumeInput(handle()) == 0) fail();
        }  // here the one that still waits is cancelled
    }

    // nullptr: that was the last.
    result next_result() {
        while (PQisBusy(handle()) != 0) {
            io::wait_readable(socket());
            if (PQconsumeInput(handle()) == 0) fail();
        }
        return result(PQgetResult(handle()), &PQclear);
    }

    result run(const std::string& text) {
        if (PQsendQuery(handle(), text.c_str()) == 0) fail();
        flush();
        result last(nullptr, &PQclear);
        while (result next = next_result()) {
            const auto status = PQresultStatus(next.get());
            if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT) throw database_error("COPY is not supported");
            last = std::move(next);
        }
        if (last == nullptr) fail();
        if (PQresultStatus(last.get()) == PGRES_FATAL_ERROR) throw database_error(PQresultErrorMessage(last.get()));
        return last;
    }

    // Asks the server to give the query up, and takes what still comes, the message that says so included. The server
    // ignores a request that comes before the query has begun: so it is repeated.
    void cancel() {
        if (PQflush(handle()) != 0) return;  // the query has not even left: usable() says no
        const std::shared_ptr<PGcancel> request(PQgetCancel(handle()), &PQfreeCancel);
        for (auto patience = 100ms; request != nullptr && patience < 5s; patience *= 2) {
            fiber::to_thread([request] {
                char error[256];
                PQcancel(request.get(), error, sizeof error);  // opens a connection of its own, and blocks
            });
            if (drain(fiber::now() + patience)) return;
        }
    }

    // false: not all results have come in time, or the connection is lost.
    bool drain(std::chrono::steady_clock::time_point until) {
        for (;;) {
            while (PQisBusy(handle()) != 0) {
                if (!io::wait_readable_until(socket(), until) || PQconsumeInput(handle()) == 0) return false;
            }
            if (result(PQgetResult(handle()), &PQclear) == nullptr) return true;
        }
    }

    std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

// Connections that queries borrow. Each is made when it is first needed, and again when it has become useless.
class pool {
 public:
    pool(std::string where, std::size_t size, std::chrono::seconds patience)
        : where_(std::move(where)), patience_(patience), idle_(size) {
        for (std::size_t i = 0; i < size; ++i) idle_.try_push(nullptr);
    }

    result query(const std::string& text) {
        const loan mine{*this, *idle_.pop()};  // parks while all are lent
        if (mine.lent == nullptr || !mine.lent->usable()) {
            mine.lent.reset();  // before the new one is made: servers count connections
            mine.lent = std::make_unique<connection>(where_, patience_);
        }
        return mine.lent->query(text, patience_);
    }

 private:
    struct loan {
        pool& from;
        mutable std::unique_ptr<connection> lent;
        ~loan() { from.idle_.try_push(std::move(lent)); }  // there is room: it was taken from there
    };

    const std::string where_;
    const std::chrono::seconds patience_;
    fiber::channel<std::unique_ptr<connection>> idle_;
};

// As COPY writes text: \N is NULL, and a tab or newline in a value is \t or \n.
std::string field(const PGresult* table, int row, int column) {
    if (PQgetisnull(table, row, column) != 0) return "\\N";
    std::string text;
    for (const char* c = PQgetvalue(table, row, column); *c != '\0'; ++c) {
        switch (*c) {
            case '\t':
                text += "\\t";
                break;
            case '\n':
                text += "\\n";
                break;
            case '\\':
                text += "\\\\";
                break;
            default:
                text += *c;
        }
    }
    return text;
}

// The rows, or what else the server said: "INSERT 0 1".
void print(const PGresult* table) {
    if (PQresultStatus(table) != PGRES_TUPLES_OK) return example::announce(PQcmdStatus(const_cast<PGresult*>(table)));
    for (int row = 0; row < PQntuples(table); ++row) {
        std::string line;
        for (int column = 0; column < PQnfields(table); ++column) {
            line += (column != 0 ? "\t" : "") + field(table, row, column);
        }
        example::announce(line);
    }
}

// false: there is none, and standard error says why.
bool print(std::size_t number, fiber::outcome<result>& got) {
    std::string why;
    try {
        print(got.value().get());
        return true;
    } catch (const fiber::cancelled&) {
        why = "cancelled";
    } catch (const std::exception& error) {
        why = error.what();
    }
    std::fprintf(stderr, "query %zu: %s\n", number, why.c_str());
    return false;
}

int run_all(pool& database, const std::vector<std::string>& queries) {
    fiber::signals stop{SIGINT, SIGTERM};
    std::vector<fiber::task<result>> tasks;
    for (const std::string& text : queries) {
        tasks.push_back(fiber::spawn([&database, &text] { return database.query(text); }));
    }
    auto stopping = fiber::spawn([&] {
        stop.wait();
        for (auto& each : tasks) each.cancel();
    });
    std::size_t number = 0, failed = 0;
    for (auto& each : fiber::gather(fiber::return_exceptions, tasks)) failed += print(++number, each) ? 0 : 1;
    return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    return example::program(usage, argc, argv, [](example::arguments& given) {
        const std::string where = given.text("--db", "");
        const std::size_t connections = given.number("--connections", 4, 1, 1000);
        const std::chrono::seconds patience(given.number("--timeout", 30, 1, 86'400));
        std::vector<std::string> queries = given.operands();
        if (queries.empty()) {
            for (std::string line; std::getline(std::cin, line);) queries.push_back(line);
        }
        return fiber::run([&] {
            pool database(where, connections, patience);
            return run_all(database, queries);
        });
    });
}
