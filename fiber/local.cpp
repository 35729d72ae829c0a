#include "fiber/local.hpp"

#include <atomic>
#include <memory>
#include <vector>

#include "scheduler/core/ambient.hpp"

namespace fiber::detail {

namespace {

struct local_value {
    std::uint64_t local;
    void* value;
    void (*destroy)(void*) noexcept;
};

// Few per task: looked through from the front. Owned by the task or thread.
struct local_values : engine::task_attachment {
    local_values() noexcept : task_attachment{&release_all} {}

    // A destructor may ask for locals: by now these are new ones, in a new attachment, which the engine releases next.
    static void release_all(task_attachment* self) noexcept {
        const std::unique_ptr<local_values> all(static_cast<local_values*>(self));
        for (auto last = all->values.rbegin(); last != all->values.rend(); ++last) last->destroy(last->value);
    }

    std::vector<local_value> values;
};

local_values& current_values() {
    engine::task_attachment*& attached = engine::ambient_locals();
    if (attached == nullptr) attached = new local_values;
    return static_cast<local_values&>(*attached);
}

}  // namespace

std::uint64_t new_local_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

void* find_local(std::uint64_t local, void* (*make)(), void (*destroy)(void*) noexcept) {
    for (const local_value& each : current_values().values) {
        if (each.local == local) return each.value;
    }
    void* value = make();  // may wait, and may make other locals
    try {
        current_values().values.push_back({local, value, destroy});
    } catch (...) {
        destroy(value);
        throw;
    }
    return value;
}

}  // namespace fiber::detail
