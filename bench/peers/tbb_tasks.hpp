// oneTBB as a system to measure: fork-join only, its tasks cannot wait for each other otherwise.
#pragma once

#if defined(BENCH_HAVE_TBB)

#include <utility>

#define TBB_PREVIEW_GLOBAL_CONTROL 1
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include "bench/harness/affinity.hpp"

namespace bench {

struct tbb_tasks {
    static constexpr const char* name = "tbb";
    static constexpr bool available = true;
    static const char* configuration() {
        return "oneTBB, task_group run/wait inside a task_arena of that many slots, tbbmalloc not preloaded";
    }

    template <class F>
    static void run(int workers, F&& f) {
        using namespace oneapi::tbb;
        affinity on(workers);
        global_control limit(global_control::max_allowed_parallelism, static_cast<std::size_t>(workers));
        task_arena arena(workers);
        arena.execute([&] { f(); });
    }

    using task_group = oneapi::tbb::task_group;
};

}  // namespace bench

#else

namespace bench {

struct tbb_tasks {
    static constexpr const char* name = "tbb";
    static constexpr bool available = false;
};

}  // namespace bench

#endif
