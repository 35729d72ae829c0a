// A burst of fibers does not keep its memory for ever, and an idle runtime that has given it back does not wake up.
#include <fstream>
#include <string>

#include "scheduler/base/sanitizers.hpp"
#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

// The first number in the line of that name.
std::size_t number_in(const char* file, const std::string& name) {
    std::ifstream lines(file);
    for (std::string word; lines >> word;) {
        std::size_t value = 0;
        if (word == name && lines >> value) return value;
    }
    return 0;
}

std::size_t resident_kib() { return number_in("/proc/self/status", "VmRSS:"); }

}  // namespace

TEST_CASE("the memory of a burst of fibers goes back to the system when nobody needs the stacks") {
    if (FIBER_ASAN || FIBER_TSAN) return;  // they keep what was freed
    for (const unsigned workers : {1u, 4u}) {
        fiber::run({.workers = workers}, [] {
            constexpr std::size_t burst = 20'000;
            fiber::event go;
            std::vector<fiber::task<void>> all;
            const std::size_t before = resident_kib();
            for (std::size_t i = 0; i < burst; ++i) all.push_back(fiber::spawn([&] { go.wait(); }));
            settle();
            const std::size_t at_most = (burst - 2'000) * 4;  // a page of each, but for those that are kept
            CHECK(resident_kib() > before + at_most);  // while all are in use: later they may be on their way already
            go.set();
            fiber::gather(all);
            all.clear();
            // As soon as they have been idle for a second; how soon a loaded machine gets to it is not asked.
            for (int look = 0; look < 200 && resident_kib() > before + at_most / 4; ++look) fiber::sleep_for(100ms);
            CHECK(resident_kib() < before + at_most / 4);
        });
    }
}
