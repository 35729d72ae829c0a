#include "fiber/run.hpp"

#include <cstdio>
#include <string>
#include <unistd.h>

#include "fiber/detail/runtime_state.hpp"
#include "fiber/shield.hpp"
#include "scheduler/core/cpu_count.hpp"
#include "scheduler/core/crew.hpp"
#include "scheduler/core/current.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber {

namespace {

constexpr unsigned most_workers = 1024;
constexpr std::size_t most_offload_threads = 16'384;

[[noreturn]] void reject(const char* option, std::size_t value, const std::string& allowed) {
    throw invalid_option("fiber: runtime_options::" + std::string(option) + " = " + std::to_string(value) +
                         ": must be " + allowed);
}

engine::scheduler::options engine_options(const runtime_options& wanted) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    if (wanted.workers > most_workers) reject("workers", wanted.workers, "at most " + std::to_string(most_workers));
    if (wanted.offload_threads > most_offload_threads) {
        reject("offload_threads", wanted.offload_threads, "at most " + std::to_string(most_offload_threads));
    }
    if (wanted.stack_size < engine::minimum_stack_size || wanted.stack_size > engine::maximum_stack_size ||
        wanted.stack_size % page != 0) {
        reject("stack_size", wanted.stack_size,
               "a multiple of the page size, " + std::to_string(page) + ", from " +
                   std::to_string(engine::minimum_stack_size) + " to " + std::to_string(engine::maximum_stack_size) +
                   " bytes");
    }
    return {.workers = wanted.workers != 0 ? wanted.workers : engine::available_cpus(),
            .default_class = *engine::class_for(wanted.stack_size),
            .name = std::string(wanted.name),
            .virtual_time = wanted.virtual_time};
}

}  // namespace

// --- runtime ---

runtime::runtime(const runtime_options& options)
    : state_(new detail::runtime_state(engine_options(options), options.offload_threads,
                                       options.on_unretrieved_exception)) {}
// On a fiber of another runtime: what the callables that never ran hold may wait in its destructors.
runtime::~runtime() {
    uncancellable([this] { delete state_; });
}

engine::scheduler& runtime::scheduler() noexcept { return *state_; }
unsigned runtime::workers() const noexcept { return state_->worker_count(); }

void runtime::check_can_run() const {
    if (engine::worker::current() != nullptr) {
        throw usage_error(
            "fiber: run() was called on a fiber; a runtime is running already: use spawn() or call the function");
    }
    if (state_->running()) throw usage_error("fiber: run() of this runtime is active on another thread");
}

void runtime::run_main(engine::task_slot& main) {
    try {
        engine::run_to_end(*state_, main);
    } catch (...) {
        main.operations->drop(main);  // it was never handed in: nobody else would end it
        engine::finish(main);
        throw;
    }
    state_->later()->drop_all();
    state_->stop_offload();
}

runtime_statistics runtime::statistics() const {
    return {.tasks = state_->live_tasks(),
            .stacks_in_use = state_->stacks().statistics().in_use,
            .timers = state_->armed_timers(),
            .offload_threads = state_->running_offload_threads()};
}

}  // namespace fiber
