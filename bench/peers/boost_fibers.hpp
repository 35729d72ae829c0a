// Boost.Fiber as a system to measure.
// One worker: its default scheduler (round_robin) and pooled stacks. More: its work_stealing scheduler without
// suspension (its faster mode: idle workers spin) and malloc'd stacks, because its stack pool may not be shared between
// threads.
//
// work_stealing counts its schedulers once per process, so the worker threads are made once and kept. Between two
// measurements they are blocked outside of Boost.Fiber, where they cost the other systems nothing.
#pragma once

#if defined(BENCH_HAVE_BOOST_FIBER)

#include <boost/fiber/all.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "bench/harness/affinity.hpp"

namespace bench {

struct boost_fibers {
    static constexpr const char* name = "boost_fiber";
    static constexpr bool available = true;
    static const char* configuration();

    // Throws std::runtime_error when called with a second worker count above one in the same process.
    static void run(int workers, const std::function<void()>& f, int cpus = 0);

    // For fork-join: on one worker the child runs at once, which keeps fewer fibers alive; with more, what was spawned
    // is left to be stolen. Tried both ways each: clearly the faster one for skynet, no clear difference for fib.
    template <class F>
    static auto fork(F&& f) {
        const auto how = pool_ != nullptr ? boost::fibers::launch::dispatch : boost::fibers::launch::post;
        return spawn_as(how, std::forward<F>(f));
    }
    template <class F>
    static auto spawn(F&& f) {
        return spawn_as(boost::fibers::launch::post, std::forward<F>(f));
    }

    class handle {
     public:
        explicit handle(boost::fibers::fiber fiber) : fiber_(std::move(fiber)) {}
        void get() { fiber_.join(); }

     private:
        boost::fibers::fiber fiber_;
    };

    static void yield() { boost::this_fiber::yield(); }
    template <class Duration>
    static void sleep_for(Duration d) {
        boost::this_fiber::sleep_for(d);
    }
    template <class T>
    using promise = boost::fibers::promise<T>;
    template <class T>
    using future = boost::fibers::future<T>;
    using mutex = boost::fibers::mutex;

    // Capacity 0 is unbuffered_channel. A buffered_channel of n (a power of two) holds n - 1 items.
    template <class T>
    class channel {
     public:
        explicit channel(std::size_t capacity) {
            if (capacity == 0)
                unbuffered_.emplace();
            else
                buffered_.emplace(capacity);
        }
        bool push(T value) {
            constexpr auto success = boost::fibers::channel_op_status::success;
            return (buffered_ ? buffered_->push(std::move(value)) : unbuffered_->push(std::move(value))) == success;
        }
        std::optional<T> pop() {
            T value{};
            const auto status = buffered_ ? buffered_->pop(value) : unbuffered_->pop(value);
            if (status != boost::fibers::channel_op_status::success) return std::nullopt;
            return value;
        }
        void close() {
            if (buffered_)
                buffered_->close();
            else
                unbuffered_->close();
        }

     private:
        std::optional<boost::fibers::unbuffered_channel<T>> unbuffered_;
        std::optional<boost::fibers::buffered_channel<T>> buffered_;
    };

 private:
    static boost::fibers::pooled_fixedsize_stack* pool_;  // set while one worker runs

    template <class F>
    static handle spawn_as(boost::fibers::launch how, F&& f) {
        if (pool_ != nullptr) return handle(boost::fibers::fiber(how, std::allocator_arg, *pool_, std::forward<F>(f)));
        return handle(
            boost::fibers::fiber(how, std::allocator_arg, boost::fibers::fixedsize_stack(), std::forward<F>(f)));
    }
};

}  // namespace bench

#else

namespace bench {

struct boost_fibers {
    static constexpr const char* name = "boost_fiber";
    static constexpr bool available = false;
};

}  // namespace bench

#endif
