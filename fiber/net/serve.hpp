// A whole server: accepts, runs a handler for each connection, and ends gracefully. asyncio.start_server and
// Server.serve_forever (https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.Server).
#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "fiber/condition_variable.hpp"
#include "fiber/mutex.hpp"
#include "fiber/net/listener.hpp"
#include "fiber/task.hpp"

namespace fiber::net {

// What serve() may be told. An aggregate.
struct serve_options {
    std::size_t max_connections = 10'000;    // at once; beyond, connections wait in the kernel's backlog. 0: no limit
    std::chrono::milliseconds grace{5'000};  // how long handlers may go on after the stop, before they are cancelled
    std::size_t stack_size = 0;              // of each handler; 0: the runtime's default
};

namespace detail {

// The connections that are being served.
class server_state {
 public:
    explicit server_state(const serve_options& options) noexcept : options_(options) {}

    // Parks while there are as many as may be, unless the listener is closed. Cancellation point.
    void wait_for_room(listener& from);
    // A handler that has been spawned, from before that to the destruction of its callable, whether that ran or not.
    struct entry {
        task<void> handle;
        bool ended = false;  // before the handle could be stored
    };
    using place = std::list<entry>::iterator;
    [[nodiscard]] std::optional<place> enter() noexcept;  // nullopt: no memory
    void store(place where, task<void> handle) noexcept;
    void leave(place where) noexcept;
    void give_up(place where) noexcept;  // its task could not be spawned; leave() has been called

    // Lets the handlers end, cancels those that do not within the grace, and waits for these.
    void finish() noexcept;

 private:
    const serve_options options_;
    mutex lock_;
    condition_variable changed_;
    std::list<entry> handlers_;
};

// Leaves when the handler's callable is destroyed.
class server_place {
 public:
    server_place(server_state& state, server_state::place where) noexcept : state_(&state), where_(where) {}
    server_place(server_place&& other) noexcept : state_(std::exchange(other.state_, nullptr)), where_(other.where_) {}
    server_place& operator=(server_place&&) = delete;
    ~server_place() {
        if (state_ != nullptr) state_->leave(where_);
    }

 private:
    server_state* state_;
    server_state::place where_;
};

// Throws usage_error outside a runtime.
void check_may_serve();

// Accepts one connection. What has run out is waited for: the connection stays in the backlog meanwhile. false: the
// listener was closed. Cancellation point. Throws std::system_error if it fails for good.
[[nodiscard]] bool accept_patiently(listener& from, stream& into);

}  // namespace detail

// Accepts connections and calls handler(stream) for each, on a fiber of its own, until the listener is closed (returns)
// or the caller is cancelled (throws `cancelled`). Either way it stops accepting first, waits until the handlers have
// ended, for options.grace at most, cancels those that are left, and waits for their clean-up. The connection is closed
// when the handler's stream ends. What a handler throws is reported like an exception that nobody retrieved, and ends
// nothing else. Too many connections wait in the kernel's backlog; so do all while descriptors have run out. One for
// which there is no memory is closed, and the server goes on.
// On a fiber. Cancellation point. Throws std::system_error if the listener fails for good, usage_error outside a
// runtime.
template <class Handler>
void serve(listener& from, Handler handler, const serve_options& options = {}) {
    detail::check_may_serve();
    detail::server_state state(options);
    const struct finisher {
        ~finisher() { state.finish(); }
        detail::server_state& state;
    } at_the_end{state};
    for (;;) {
        state.wait_for_room(from);
        stream connection;
        if (!detail::accept_patiently(from, connection)) return;
        const auto where = state.enter();
        if (!where) continue;
        try {
            state.store(*where, spawn({.name = "connection", .stack_size = options.stack_size},
                                      [&handler, here = detail::server_place(state, *where),
                                       connection = std::move(connection)]() mutable {
                                          stream mine = std::move(connection);
                                          handler(std::move(mine));
                                      }));
        } catch (const std::bad_alloc&) {
            state.give_up(*where);
        } catch (...) {
            state.give_up(*where);
            throw;
        }
    }
}

}  // namespace fiber::net
