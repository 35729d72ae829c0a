// Runs the benchmarks: Google Benchmark's main plus --workers=1,2, which says for which worker counts each case stands.
// Real time and the CPU time of the whole process are measured: a fiber may come back on another thread, and a second
// worker that spins is a cost.
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "bench/harness/affinity.hpp"
#include "bench/harness/registry.hpp"
#include "bench/peers/configuration.hpp"

namespace bench {

std::vector<entry>& entries() {
    static std::vector<entry> all;
    return all;
}

namespace {

void register_one(const entry& e, int workers) {
    const std::string name = e.name + "/" + e.system + "/workers:" + std::to_string(workers);
    auto* benchmark = benchmark::RegisterBenchmark(
        name.c_str(), [run = e.run, workers](benchmark::State& state) { run(state, workers); });
    benchmark->Unit(e.how.unit)->MeasureProcessCPUTime();
    if (e.how.manual)
        benchmark->UseManualTime();
    else
        benchmark->UseRealTime();
    if (e.how.once) benchmark->Iterations(1);
}

// Takes --workers=a,b,… out of the command line.
std::vector<int> take_workers(int& argc, char** argv) {
    std::string list = "1,2";
    int kept = 1;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word.rfind("--workers=", 0) == 0)
            list = word.substr(10);
        else
            argv[kept++] = argv[i];
    }
    argc = kept;
    std::vector<int> workers;
    std::istringstream words(list);
    for (std::string one; std::getline(words, one, ',');) workers.push_back(std::stoi(one));
    return workers;
}

}  // namespace

}  // namespace bench

int main(int argc, char** argv) {
    bench::affinity::all();  // before any case narrows it
    const auto workers = bench::take_workers(argc, argv);
    for (const auto& e : bench::entries())
        for (int w : workers)
            if (w == 1 || !e.how.serial) bench::register_one(e, w);
    for (const auto& [system, text] : bench::configurations()) benchmark::AddCustomContext("system:" + system, text);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
