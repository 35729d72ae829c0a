// std::thread as a system to measure: what a program without fibers would write.
#pragma once

#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <queue>
#include <thread>
#include <utility>

#include "bench/harness/affinity.hpp"

namespace bench {

struct threads {
    static constexpr const char* name = "thread";
    static constexpr bool available = true;
    static const char* configuration() {
        return "std::thread of libstdc++ and glibc, default stacks, restricted to as many CPUs as the others have "
               "workers";
    }

    template <class F>
    static void run(int workers, F&& f, int cpus = 0) {
        affinity on(cpus > 0 ? cpus : workers);
        f();
    }

    class handle {
     public:
        template <class F>
        explicit handle(F&& f) : thread_(std::forward<F>(f)) {}
        void get() { thread_.join(); }

     private:
        std::thread thread_;
    };

    template <class F>
    static handle spawn(F&& f) {
        return handle(std::forward<F>(f));
    }
    static void yield() { std::this_thread::yield(); }
    template <class Duration>
    static void sleep_for(Duration d) {
        std::this_thread::sleep_for(d);
    }
    template <class T>
    using promise = std::promise<T>;
    template <class T>
    using future = std::future<T>;
    using mutex = std::mutex;

    // The textbook's bounded queue. Capacity 0 is taken as 1: a rendezvous would cost threads one more switch each way.
    template <class T>
    class channel {
     public:
        explicit channel(std::size_t capacity) : capacity_(capacity == 0 ? 1 : capacity) {}

        bool push(T value) {
            std::unique_lock lock(mutex_);
            not_full_.wait(lock, [&] { return closed_ || items_.size() < capacity_; });
            if (closed_) return false;
            items_.push(std::move(value));
            lock.unlock();
            not_empty_.notify_one();
            return true;
        }
        std::optional<T> pop() {
            std::unique_lock lock(mutex_);
            not_empty_.wait(lock, [&] { return closed_ || !items_.empty(); });
            if (items_.empty()) return std::nullopt;
            std::optional<T> value(std::move(items_.front()));
            items_.pop();
            lock.unlock();
            not_full_.notify_one();
            return value;
        }
        void close() {
            std::lock_guard lock(mutex_);
            closed_ = true;
            not_empty_.notify_all();
            not_full_.notify_all();
        }

     private:
        std::size_t capacity_;
        std::mutex mutex_;
        std::condition_variable not_empty_, not_full_;
        std::queue<T> items_;
        bool closed_ = false;
    };
};

}  // namespace bench
