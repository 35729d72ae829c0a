// The end of a runtime, and those who have just woken its last fiber from outside: they must have let go of it by then.
// Under TSan these cases failed every time: the runtime's memory and descriptors went while the one who had ended its
// last wait was still about to wake a worker, without an order between the two.
#include <sys/eventfd.h>
#include <thread>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

// Runs a program that ends when wake() is called from outside, while its workers sleep, in the reactor if there is
// something to wait for in there.
template <class Wake>
void end_by(unsigned workers, bool with_reactor, fiber::future<void> end, Wake wake) {
    fiber::promise<void> asleep;
    std::thread outside([&, begun = asleep.get_future()]() mutable {
        begun.get();
        wake();
    });
    fiber::run({.workers = workers}, [&] {
        fiber::io::descriptor quiet(::eventfd(0, 0));
        fiber::task<void> waits;
        if (with_reactor) {
            waits = fiber::spawn([&] { quiet.wait_readable(); });
            settle();
        }
        asleep.set_value();
        end.get();
    });
    outside.join();
}

}  // namespace

TEST_CASE("who wakes the last fiber of a runtime, from a thread, may still be at it when the runtime ends") {
    for_each_worker_count([](unsigned workers) {
        for (int i = 0; i < scaled(400); ++i) {
            fiber::promise<void> told;
            end_by(workers, i % 2 != 0, told.get_future(), [&] { told.set_value(); });
        }
    });
}

TEST_CASE("who wakes the last fiber of a runtime, on a fiber of another, may still be at it when the runtime ends") {
    for_each_worker_count([](unsigned workers) {
        for (int i = 0; i < scaled(200); ++i) {
            fiber::promise<void> told;
            end_by(workers, i % 2 != 0, told.get_future(),
                   [&] { fiber::run({.workers = 1}, [&] { told.set_value(); }); });
        }
    });
}

TEST_CASE("who hands the last task in to a runtime may still be at it when the runtime ends") {
    for_each_worker_count([](unsigned workers) {
        for (int i = 0; i < scaled(200); ++i) {
            fiber::promise<void> begun, told;
            auto runs = std::make_unique<fiber::runtime>(fiber::runtime_options{.workers = workers});
            std::thread outside([&, running = begun.get_future()]() mutable {
                running.get();
                runs->post([&] { told.set_value(); });
            });
            runs->run([&] {
                fiber::io::descriptor quiet(::eventfd(0, 0));
                auto waits = fiber::spawn([&] { quiet.wait_readable(); });
                settle();
                begun.set_value();
                told.get_future().get();
            });
            runs.reset();
            outside.join();
        }
    });
}
