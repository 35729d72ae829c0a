// Fiber-local values: thread_local for tasks. Python: threading.local; asyncio has none.
#pragma once

#include <concepts>
#include <cstdint>

namespace fiber {

namespace detail {

std::uint64_t new_local_id() noexcept;
// The caller's value of a local; made by `make` if there is none. Throws std::bad_alloc, what `make` throws.
void* find_local(std::uint64_t local, void* (*make)(), void (*destroy)(void*) noexcept);

}  // namespace detail

// A value of its own in each task and in each plain thread, made (T{}) when it is first asked for. A task's values are
// destroyed at its end, in its own context and in reverse order of making, before whoever waits for it goes on; a
// thread's at its exit. Nothing is inherited: for that there is context_var.
//
// Usually a global. A fiber or a plain thread; references are good until the task, or the thread, ends. Never waits.
template <std::default_initializable T>
class local {
 public:
    local() = default;
    local(const local&) = delete;
    local& operator=(const local&) = delete;

    // Throws std::bad_alloc and what T{} throws, the first time.
    T& operator*() const { return *get(); }
    T* operator->() const { return get(); }
    T* get() const {
        return static_cast<T*>(detail::find_local(
            id_, []() -> void* { return new T{}; }, [](void* value) noexcept { delete static_cast<T*>(value); }));
    }

 private:
    const std::uint64_t id_ = detail::new_local_id();
};

}  // namespace fiber
