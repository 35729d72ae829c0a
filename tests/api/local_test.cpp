// local: a value for each task, made when it is first asked for, destroyed at its end.
#include <memory>
#include <stdexcept>
#include <string>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

fiber::local<int> counter;
fiber::local<std::string> text;
fiber::local<tracked> watched;

// Notes its destruction.
struct noting {
    ~noting() {
        if (log != nullptr) log->add(name);
    }
    journal<std::string>* log = nullptr;
    std::string name;
};
fiber::local<noting> first_made;
fiber::local<noting> second_made;

// Its destructor waits.
struct waits_at_its_end {
    ~waits_at_its_end() {
        for (int i = 0; i < 3; ++i) fiber::yield();
        if (ended != nullptr) ++*ended;
    }
    std::atomic<int>* ended = nullptr;
};
fiber::local<waits_at_its_end> waiting;

struct throws_when_made {
    throws_when_made() {
        if (armed) throw std::runtime_error("not made");
    }
    static inline bool armed = false;
};
fiber::local<throws_when_made> hesitant;

// Its destructor asks for another local, which then has to be made and destroyed, too.
struct asks_at_its_end {
    ~asks_at_its_end() { *watched = tracked(9); }
};
fiber::local<asks_at_its_end> asking;

}  // namespace

TEST_CASE("each task has its own value, inherits none, and finds it again after every wait") {
    on_each_worker_count([] {
        *counter = 100;
        std::vector<fiber::task<int>> tasks;
        for (int i = 0; i < 20; ++i) {
            tasks.push_back(fiber::spawn([i] {
                CHECK(*counter == 0);
                *text = std::to_string(i);
                for (int turn = 0; turn < 20; ++turn) {
                    ++*counter;
                    fiber::yield();
                }
                CHECK(text->size() == std::to_string(i).size());
                CHECK(*text.get() == std::to_string(i));
                return *counter;
            }));
        }
        for (auto& each : tasks) CHECK(each.get() == 20);
        CHECK(*counter == 100);
    });
}

TEST_CASE("a child that is joined before it started has values of its own, too") {
    on_each_worker_count([] {
        *counter = 1;
        CHECK(fiber::spawn([] { return ++*counter; }).get() == 1);
        CHECK(*counter == 1);
    });
}

TEST_CASE("values are destroyed at the task's end, before whoever waits for it goes on") {
    on_each_worker_count([] {
        auto task = fiber::spawn([] { *watched = tracked(1); });
        task.get();
        CHECK(tracked::live() == 0);
        auto failing = fiber::spawn([] {
            *watched = tracked(2);
            throw std::runtime_error("failed");
        });
        CHECK_THROWS_AS(failing.get(), std::runtime_error);
        CHECK(tracked::live() == 0);
        auto cancelled = fiber::spawn([] {
            *watched = tracked(3);
            park_until_cancelled();
        });
        settle();
        cancelled.cancel();
        cancelled.wait();
        CHECK(tracked::live() == 0);
    });
}

TEST_CASE("values are destroyed in the reverse order of their making, in the task's own context") {
    on_each_worker_count([] {
        journal<std::string> log;
        auto task = fiber::spawn({.name = "owner"}, [&] {
            first_made->log = &log;
            first_made->name = "first";
            second_made->log = &log;
            second_made->name = "second";
        });
        task.get();
        CHECK(log.entries() == std::vector<std::string>{"second", "first"});
    });
}

TEST_CASE("a value's destructor may wait, and is not interrupted by a cancellation") {
    on_each_worker_count([] {
        std::atomic<int> ended{0};
        auto task = fiber::spawn([&] {
            waiting->ended = &ended;
            fiber::this_fiber::cancel();
        });
        task.wait();
        CHECK(ended == 1);
        CHECK(task.cancelled());
    });
}

TEST_CASE("a value's destructor may ask for locals: they are made, and destroyed after it") {
    on_each_worker_count([] {
        fiber::spawn([] { (void)*asking; }).get();
        CHECK(tracked::live() == 0);
    });
}

TEST_CASE("a value that cannot be made is not there, and may be made later") {
    on_each_worker_count([] {
        throws_when_made::armed = true;
        CHECK_THROWS_WITH_AS((void)*hesitant, "not made", std::runtime_error);
        throws_when_made::armed = false;
        CHECK_NOTHROW((void)*hesitant);
    });
}

TEST_CASE("a plain thread has values of its own until its exit, a call on a pool's thread that thread's") {
    on_each_worker_count([] {
        *counter = 5;
        std::thread([] {
            CHECK(*counter == 0);
            *watched = tracked(1);
            CHECK(tracked::live() == 1);
        }).join();
        CHECK(tracked::live() == 0);
        CHECK(fiber::to_thread([] { return *counter; }) == 0);
        CHECK(*counter == 5);
    });
}
