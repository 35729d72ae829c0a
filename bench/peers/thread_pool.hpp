// The plain pool of OS threads that a program hands blocking calls to if its fiber library has none: a queue, a mutex,
// a condition variable. Boost.Fiber's guide leaves this to the user.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace bench {

class plain_thread_pool {
 public:
    explicit plain_thread_pool(int threads) {
        for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    }
    // Runs what is queued, then ends.
    ~plain_thread_pool() {
        {
            std::lock_guard lock(mutex_);
            closed_ = true;
        }
        changed_.notify_all();
        for (auto& thread : threads_) thread.join();
    }
    plain_thread_pool(const plain_thread_pool&) = delete;
    plain_thread_pool& operator=(const plain_thread_pool&) = delete;

    // Any thread.
    void submit(std::function<void()> call) {
        {
            std::lock_guard lock(mutex_);
            calls_.push_back(std::move(call));
        }
        changed_.notify_one();
    }

 private:
    void work() {
        for (std::unique_lock lock(mutex_);;) {
            changed_.wait(lock, [&] { return closed_ || !calls_.empty(); });
            if (calls_.empty()) return;
            auto call = std::move(calls_.front());
            calls_.pop_front();
            lock.unlock();
            call();
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> calls_;
    bool closed_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace bench
