#include "fiber/net/serve.hpp"

#include <algorithm>
#include <mutex>

#include "fiber/error.hpp"
#include "fiber/shield.hpp"
#include "fiber/sleep.hpp"
#include "fiber/this_fiber.hpp"

namespace fiber::net::detail {

using namespace std::chrono_literals;

namespace {

void cancel(task<void>& handler) noexcept {
    try {
        handler.cancel("the server stops");
    } catch (const std::bad_alloc&) {
        handler.cancel();  // the message is a comfort
    }
}

}  // namespace

// Both are waited for: the end of a handler here, close() by a task of its own.
void server_state::wait_for_room(listener& from) {
    if (options_.max_connections == 0) return;
    const auto has_room = [this] { return handlers_.size() < options_.max_connections; };
    {
        const std::lock_guard guard(lock_);
        if (has_room()) return;
    }
    bool closed = false;
    const auto watch = [&] {
        while (!is_closed_within(from, std::nullopt)) {
        }
        const std::lock_guard guard(lock_);
        closed = true;
        changed_.notify_all();
    };
    task<void> watching;
    try {
        watching = spawn({.name = "server at its limit"}, watch);
    } catch (const std::bad_alloc&) {  // then the end of a handler alone
    }
    std::unique_lock guard(lock_);  // given up before `watching` is joined, which takes it, too
    changed_.wait(guard, [&] { return closed || has_room(); });
}

std::optional<server_state::place> server_state::enter() noexcept {
    const std::lock_guard guard(lock_);
    try {
        return handlers_.emplace(handlers_.end());
    } catch (const std::bad_alloc&) {
        return std::nullopt;
    }
}

void server_state::store(place where, task<void> handle) noexcept {
    const std::lock_guard guard(lock_);
    if (where->ended) {
        handle.detach();
        handlers_.erase(where);
        changed_.notify_all();
    } else {
        where->handle = std::move(handle);
    }
}

void server_state::leave(place where) noexcept {
    const std::lock_guard guard(lock_);
    where->ended = true;
    if (!where->handle.valid()) return;  // store() comes later
    where->handle.detach();
    handlers_.erase(where);
    changed_.notify_all();
}

void server_state::give_up(place where) noexcept {
    const std::lock_guard guard(lock_);
    handlers_.erase(where);
}

void server_state::finish() noexcept {
    uncancellable([this] {
        std::unique_lock guard(lock_);
        const auto all_gone = [this] { return handlers_.empty(); };
        if (changed_.wait_for(guard, options_.grace, all_gone)) return;
        for (entry& each : handlers_) {
            if (each.handle.valid()) cancel(each.handle);
        }
        changed_.wait(guard, all_gone);
    });
}

void check_may_serve() {
    if (!this_fiber::on_fiber())
        throw usage_error("fiber: serve() outside a runtime: call it on a fiber, inside run()");
}

bool is_closed_within(listener& which, io::limit within) {
    constexpr auto look_again = 100ms;
    std::error_code error;
    which.socket_.wait_writable(error, within);  // a socket that listens is never writable
    if (error != std::errc::timed_out && which.is_open()) sleep_for(look_again);  // it cannot be watched
    return !which.is_open();
}

bool accept_patiently(listener& from, stream& into) {
    for (auto pause = 5ms;; pause = std::min(pause * 2, 500ms)) {
        std::error_code error;
        into = from.accept(error);
        if (!error) return true;
        const bool ran_out = error == std::errc::too_many_files_open ||
                             error == std::errc::too_many_files_open_in_system || error == std::errc::no_buffer_space ||
                             error == std::errc::not_enough_memory;
        if (error != io::errc::closed && !ran_out) fail(error, "accept on", from.local());
        if (error == io::errc::closed || is_closed_within(from, pause)) return false;
    }
}

}  // namespace fiber::net::detail
