#include "fiber/context_var.hpp"

#include <atomic>
#include <vector>

#include "fiber/error.hpp"
#include "scheduler/core/lifecycle.hpp"

namespace fiber::detail {

namespace {

struct entry {
    std::uint64_t variable;
    context_value value;
};

// Programs have few variables: a row of entries is looked through faster than a tree is descended. Copied to be
// changed.
struct context_map : engine::task_attachment {
    context_map() noexcept : task_attachment{&drop_share, &add_share} {}
    context_map(const context_map& other) : task_attachment{&drop_share, &add_share}, entries(other.entries) {}

    static void add_share(task_attachment* self) noexcept {
        static_cast<context_map*>(self)->owners.fetch_add(1, std::memory_order_relaxed);
    }
    static void drop_share(task_attachment* self) noexcept {
        auto* map = static_cast<context_map*>(self);
        // Whoever destroys it sees what the other owners did.
        if (map->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete map;
    }

    std::atomic<std::uint32_t> owners{1};
    std::vector<entry> entries;
};

const context_map* current_map() noexcept { return static_cast<const context_map*>(engine::ambient_context()); }

}  // namespace

std::uint64_t new_variable_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

const void* find_in_context(std::uint64_t variable) noexcept {
    const context_map* map = current_map();
    if (map == nullptr) return nullptr;
    for (const entry& each : map->entries) {
        if (each.variable == variable) return each.value.get();
    }
    return nullptr;
}

context_value replace_in_context(std::uint64_t variable, context_value value) {
    const context_map* before = current_map();
    auto changed = before != nullptr ? std::make_unique<context_map>(*before) : std::make_unique<context_map>();
    context_value old;
    auto at = changed->entries.begin();
    while (at != changed->entries.end() && at->variable != variable) ++at;
    if (at == changed->entries.end()) {
        if (value != nullptr) changed->entries.push_back({variable, std::move(value)});
    } else {
        old = std::move(at->value);
        value != nullptr ? static_cast<void>(at->value = std::move(value))
                         : static_cast<void>(changed->entries.erase(at));
    }
    engine::task_attachment* replaced = std::exchange(engine::ambient_context(), changed.release());
    if (replaced != nullptr) engine::release_attachment(replaced);
    return old;
}

void throw_no_value() {
    throw usage_error("fiber: context_var::get(): no value was set in this context, and the variable has no default");
}

void check_token(bool used, bool same_variable, const engine::ambient_owner& owner) {
    if (used) throw usage_error("fiber: context_var::reset(): the token has been used already");
    if (!same_variable) throw usage_error("fiber: context_var::reset(): the token is another variable's");
    if (owner != engine::current_ambient_owner()) {
        throw usage_error("fiber: context_var::reset(): the token was made by another task or thread");
    }
}

}  // namespace fiber::detail
