#include "fiber/net/serve.hpp"

#include <algorithm>
#include <mutex>

#include "fiber/shield.hpp"
#include "fiber/sleep.hpp"

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

void server_state::wait_for_room() {
    if (options_.max_connections == 0) return;
    std::unique_lock guard(lock_);
    changed_.wait(guard, [this] { return handlers_.size() < options_.max_connections; });
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

stream accept_patiently(listener& from, std::error_code& error) {
    for (auto pause = 5ms;; pause = std::min(pause * 2, 500ms)) {
        stream accepted = from.accept(error);
        const bool ran_out = error == std::errc::too_many_files_open ||
                             error == std::errc::too_many_files_open_in_system || error == std::errc::no_buffer_space ||
                             error == std::errc::not_enough_memory;
        if (!ran_out) return accepted;
        sleep_for(pause);
    }
}

}  // namespace fiber::net::detail
