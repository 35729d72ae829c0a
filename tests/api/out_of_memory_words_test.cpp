// Memory, threads and mappings run out at every possible point of programs that use the vocabulary: limits, groups,
// several at once, locks, channels, context. Each time the program ends with an exception that says so, or with the
// right result; nothing hangs, nothing is lost, nothing is left.
#include <memory>
#include <stop_token>

#include "tests/api/fail_at_each_request.hpp"

using namespace fiber::test;

namespace {

const char* const some_text = "a text that is too long for any small string";

int limits_and_groups() {
    int sum = 0;
    auto task = fiber::spawn([held = tracked(1)] { return held.value(); });
    sum += fiber::wait_for(task, 1h);
    sum += fiber::with_timeout(1h, [] { return 2; });
    try {
        fiber::with_timeout(0s, [] { fiber::yield(); });
    } catch (const fiber::timeout_error&) {
        sum += 3;
    }
    sum += fiber::with_task_group([](fiber::task_group& group) {
        auto one = group.spawn({.name = some_text}, [held = tracked(4)] {
            fiber::yield();
            return held.value();
        });
        return one.get();
    });
    try {
        fiber::with_task_group([](fiber::task_group& group) {
            group.spawn([] { throw 5; });
            park_until_cancelled();
        });
    } catch (const fiber::exception_group& group) {
        if (!group.split<int>().first) throw;  // out of memory: that is the group's exception then
        sum += 5;
    }
    return sum == 15;
}

int several_at_once() {
    int sum = 0;
    std::vector<fiber::task<tracked>> tasks;
    for (int i = 1; i <= 3; ++i) {
        tasks.push_back(fiber::spawn([i] {
            fiber::yield();
            return tracked(i);
        }));
    }
    const auto first = fiber::wait(tasks, fiber::first_completed);
    sum += first.done.empty() ? 0 : 1;
    for (auto* done : fiber::as_completed(tasks, 1h)) sum += done->get().value();
    auto shielded = fiber::spawn([held = tracked(8)] { return held.value(); });
    sum += fiber::shield(shielded).get();
    std::stop_source source;
    auto stopped = fiber::spawn(park_until_cancelled);
    {
        const auto link = fiber::cancel_on_stop(source.get_token(), stopped);
        const std::stop_token token = fiber::get_stop_token(stopped);
        source.request_stop();
        sum += token.stop_requested() ? 16 : 0;
        stopped.wait();
    }
    // Shared: the call stands when memory runs out behind it and this frame is left.
    const auto called = std::make_shared<fiber::event>();
    const auto call = fiber::call_later(10us, [called, held = tracked(1)] { called->set(); });
    auto never = fiber::call_later(1h, [held = tracked(1)] {});
    called->wait();
    never.cancel();
    return sum == 1 + 6 + 8 + 16;
}

int locks_and_channels() {
    int sum = 0;
    fiber::mutex mutex;
    fiber::condition_variable ready;
    fiber::channel<tracked> channel(2);
    fiber::queue<tracked> queue;
    bool go = false;
    fiber::task_group group;
    auto popped = group.spawn([&] {
        int got = 0;
        for (const tracked& item : channel) got += item.value();
        return got;
    });
    auto waited = group.spawn([&] {
        std::unique_lock lock(mutex);
        ready.wait(lock, [&] { return go; });
        return 10;
    });
    for (int i = 0; i < 5; ++i) channel.push(tracked(i));
    channel.close();
    for (int i = 0; i < 20; ++i) queue.put(tracked(i));
    for (int i = 0; i < 20; ++i) sum += queue.get().value();
    {
        const std::lock_guard lock(mutex);
        go = true;
    }
    ready.notify_all();
    fiber::channel<int> other(1);
    sum += static_cast<int>(fiber::select(fiber::on_pop(other, [](std::optional<int>) {}),
                                          fiber::on_push(other, 1, [] {}), fiber::on_timeout(1h, [] {})));
    group.join();
    sum += popped.get() + waited.get();
    return sum == 190 + 1 + 10 + 10;
}

fiber::context_var<tracked> variable;
fiber::local<tracked> value;

int context() {
    auto token = variable.set(tracked(1));
    *value = tracked(2);
    int sum = fiber::spawn([] { return variable.get().value() + value->value(); }).get();
    sum += fiber::to_thread([] { return variable.get().value(); });
    variable.reset(token);
    sum += variable.get_or(tracked(4)).value() + value->value();
    return sum == 1 + 0 + 1 + 4 + 2;
}

// A connection for which there is no memory is closed; whoever waits for its answer is told, and the server goes on.
int sockets() {
    namespace net = fiber::net;
    net::listener door("127.0.0.1", 0);
    auto serving = fiber::spawn([&] {
        const auto echo = [](net::stream peer) { peer.write_all(peer.read_until("\n")); };
        net::serve(door, echo, {.grace = 0ms});
    });
    const auto ask = [&] {
        net::stream client = net::connect("127.0.0.1", door.port());
        client.write_all("question\n");
        return client.read_until("\n", 100, 10s);
    };
    const bool right = fiber::spawn(ask).get() == "question\n";
    door.close();
    serving.get();
    return right ? 1 : 0;
}

}  // namespace

TEST_CASE("what runs out in limits and groups ends in an error, and nothing is left") {
    fail_everywhere(limits_and_groups);
}
TEST_CASE("what runs out in wait, as_completed, stop tokens and later calls ends in an error, and nothing is left") {
    fail_everywhere(several_at_once);
}
TEST_CASE("what runs out in locks, channels and queues ends in an error, and nothing is left") {
    fail_everywhere(locks_and_channels);
}
TEST_CASE("what runs out in a server and its client ends in an error, and nothing is left") {
    fail_everywhere(sockets);
}
TEST_CASE("what runs out in context variables and locals ends in an error, and nothing is left") {
    fail_everywhere(context);
}
