#include "scheduler/core/crew.hpp"

#include <pthread.h>
#include <string>
#include <system_error>
#include <thread>

#include "scheduler/context/overflow.hpp"
#include "scheduler/core/overflow_report.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::engine {

namespace {

// Tells the scheduler that the main task has finished.
struct main_watch : observer {
    explicit main_watch(scheduler& owner) noexcept
        : observer([](observer& self, wake_list&) noexcept { static_cast<main_watch&>(self).owner.begin_stopping(); }),
          owner(owner) {}
    scheduler& owner;
};

void name_this_thread(const std::string& runtime, unsigned index) noexcept {
    constexpr std::size_t shown = 10;  // Linux shows 15 characters
    char name[16];
    std::snprintf(name, sizeof name, "%.*s/%u", static_cast<int>(shown), runtime.c_str(), index % 10'000);
    ::pthread_setname_np(::pthread_self(), name);
}

// Inside catch: why a worker's thread could not be started.
[[noreturn]] void rethrow_for_worker(std::size_t index, std::size_t count) {
    try {
        throw;
    } catch (const std::system_error& why) {
        throw std::system_error(why.code(), "fiber: no thread can be started for worker " + std::to_string(index + 1) +
                                                " of " + std::to_string(count));
    }
}

}  // namespace

void run_to_end(scheduler& home, task_slot& main) {
    install_overflow_handler(&describe_overflow);
    std::vector<worker*> crew;
    std::vector<std::unique_ptr<worker_shared>> owned;
    for (unsigned i = 0; i < home.worker_count(); ++i) {
        auto made = std::make_unique<worker>(home, i);
        made->prepare();
        crew.push_back(made.get());
        owned.push_back(std::move(made));
    }
    home.adopt(std::move(owned));
    std::vector<std::jthread> threads;
    try {
        threads.reserve(crew.size());
        for (unsigned i = 1; i < crew.size(); ++i) {
            threads.emplace_back([&home, crew, i] {
                name_this_thread(home.settings().name, i);
                crew[i]->run();
            });
        }
    } catch (...) {
        home.give_up();
        const std::size_t started = threads.size() + 1;  // with the calling one
        threads.clear();                                 // joins
        home.end_running(false);
        rethrow_for_worker(started, crew.size());
    }
    main_watch watch(home);
    home.begin_running(main, watch);
    crew[0]->run();
    threads.clear();  // joins
    home.end_running(true);
}

}  // namespace fiber::engine
