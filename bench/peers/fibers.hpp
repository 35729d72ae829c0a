// This library as a system to measure.
#pragma once

#if defined(BENCH_HAVE_FIBER)

#include <fiber/fiber.hpp>
#if defined(BENCH_HAVE_FIBER_MUTEX)
#include <fiber/mutex.hpp>
#endif
#if defined(BENCH_HAVE_FIBER_CHANNEL)
#include <fiber/channel.hpp>
#endif

#include <utility>

#include "bench/harness/affinity.hpp"

namespace bench {

struct fibers {
    static constexpr const char* name = "fiber";
    static constexpr bool available = true;
    static const char* configuration() { return "default runtime_options except workers"; }

    template <class F>
    static void run(int workers, F&& f, int cpus = 0) {
        affinity on(cpus > 0 ? cpus : workers);
        fiber::run({.workers = static_cast<unsigned>(workers)}, std::forward<F>(f));
    }
    template <class F>
    static auto spawn(F&& f) {
        return fiber::spawn(std::forward<F>(f));
    }
    static void yield() { fiber::yield(); }
    template <class Duration>
    static void sleep_for(Duration d) {
        fiber::sleep_for(d);
    }
    template <class T>
    using promise = fiber::promise<T>;
    template <class T>
    using future = fiber::future<T>;
#if defined(BENCH_HAVE_FIBER_MUTEX)
    using mutex = fiber::mutex;
#endif
#if defined(BENCH_HAVE_FIBER_CHANNEL)
    template <class T>
    using channel = fiber::channel<T>;
#endif
};

}  // namespace bench

#else

namespace bench {

struct fibers {
    static constexpr const char* name = "fiber";
    static constexpr bool available = false;
};

}  // namespace bench

#endif
