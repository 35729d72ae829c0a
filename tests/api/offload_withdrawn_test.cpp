// A call for the thread pool that is cancelled before a thread has begun it: what it holds is destroyed once, by
// whoever owns the future, and may wait there.
#include "tests/api/waits_at_its_end.hpp"

using namespace fiber::test;

namespace {

// The runtime's only thread for blocking calls, taken.
class taken_thread {
 public:
    taken_thread() : call_(fiber::run_in_executor([this] { may_return_.wait(); })) {}
    ~taken_thread() {
        may_return_.set();
        call_.wait();
    }

 private:
    fiber::event may_return_;
    fiber::future<void> call_;
};

template <class Body>
void with_one_thread(Body body) {
    for_each_worker_count([&](unsigned workers) {
        runtime_fixture fixture(fiber::runtime_options{.workers = workers, .offload_threads = 1});
        fixture.run(body);
    });
}

}  // namespace

// The time limit expires on a worker, between two tasks: whatever waited there would wait for ever.
TEST_CASE("a time limit withdraws a queued call: what that holds may wait for other fibers as it ends") {
    with_one_thread([] {
        const taken_thread taken;
        fiber::event over;
        std::atomic<bool> waiting{false};
        auto lets_go = let_go(over, waiting);
        const auto call = [&] { fiber::to_thread([held = waits_at_its_end(over, &waiting)] { FAIL("ran"); }); };
        CHECK_THROWS_AS(fiber::with_timeout(1ms, call), fiber::timeout_error);
        CHECK(tracked::live() == 0);
        lets_go.get();
    });
}

TEST_CASE("cancel() of a queued call: what it holds goes with the future, also of a fiber that is cancelled") {
    with_one_thread([] {
        const taken_thread taken;
        fiber::event over;
        std::atomic<bool> waiting{false};
        auto owner = fiber::spawn([&] {
            auto call = fiber::run_in_executor([held = waits_at_its_end(over, &waiting)] { FAIL("ran"); });
            CHECK(call.cancel());
            CHECK(call.cancelled());
            CHECK_FALSE(waiting);
            fiber::this_fiber::cancel();
            call = {};
            CHECK(waiting);
            CHECK(over.is_set());
        });
        CHECK(yield_until([&] { return waiting.load(); }));
        over.set();
        owner.wait();
        CHECK(owner.cancelled());
        CHECK(tracked::live() == 0);
    });
}

// The thread took the caller's context over while the future, which was gone already, gave it back: once each.
TEST_CASE("calls that are cancelled and given up just as they begin") {
    on_each_worker_count([] {
        fiber::context_var<tracked> variable{tracked(1)};
        std::atomic<int> ran{0};
        for (int round = 0; round < scaled(500); ++round) {
            auto caller = fiber::spawn([&] {
                const auto token = variable.set(tracked(round));
                auto call = fiber::run_in_executor([&, held = tracked(2)] { ran += variable.get().value() == round; });
                call.cancel();
            });
            caller.get();
            (void)fiber::to_thread([] { return 1; });
        }
        CHECK(ran <= scaled(500));
    });
}

TEST_CASE("a call that shuts its own pool down is told so; one that destroys it does not wait for itself") {
    on_each_worker_count([] {
        fiber::thread_pool pool(2);
        auto shuts = fiber::run_in_executor(pool, [&] { pool.shutdown(); });
        CHECK_THROWS_AS(shuts.get(), fiber::usage_error);
        CHECK(fiber::run_in_executor(pool, [] { return 1; }).get() == 1);

        auto owned = std::make_unique<fiber::thread_pool>(1);
        fiber::thread_pool& lent = *owned;
        auto destroys = fiber::run_in_executor(lent, [last = std::move(owned)]() mutable {
            last.reset();
            return 2;
        });
        CHECK(destroys.get() == 2);
    });
}
