// Restricts the calling thread, and the threads it creates from then on, to a number of CPUs, for one scope.
// Every system of a benchmark gets exactly as many CPUs as it has workers: otherwise `workers:1` would compare one core
// with two, and what crosses threads would measure how long an idle core takes to wake up.
#pragma once

#include <sched.h>

namespace bench {

class affinity {
 public:
    // The first `cpus` of those that the process may use; all of them if it has fewer.
    explicit affinity(int cpus);
    ~affinity();
    affinity(const affinity&) = delete;
    affinity& operator=(const affinity&) = delete;

    // The CPUs the process was started with.
    static const cpu_set_t& all();

 private:
    cpu_set_t before_;
};

}  // namespace bench
