#include "tests/model/body_runner.hpp"

#include <exception>

namespace model {

void body_runner::begin(const std::function<void()>* body) {
    body_ = body;
    exception_.clear();
    if (made_) return;
    if (stack_ == nullptr) stack_ = std::make_unique_for_overwrite<std::byte[]>(stack_size);
    inside_.make({stack_.get(), stack_.get() + stack_size}, &run);
    made_ = true;
}

void body_runner::resume() { switch_to(outside_, inside_, this, *fiber::engine::thread_exception_globals()); }
void body_runner::leave() { switch_to(inside_, outside_, this, *fiber::engine::thread_exception_globals()); }

void body_runner::abandon() noexcept {
    if (!made_) return;
    inside_.discard();
    made_ = false;
    body_ = nullptr;
}

void body_runner::run(void* self) noexcept {
    auto& runner = *static_cast<body_runner*>(self);
    for (;;) {
        try {
            (*runner.body_)();
        } catch (const std::exception& thrown) {
            runner.exception_ = std::string("exception: ") + thrown.what();
        } catch (...) {
            runner.exception_ = "exception";
        }
        runner.body_ = nullptr;
        runner.leave();
    }
}

}  // namespace model
