#include "bench/harness/affinity.hpp"

namespace bench {

namespace {

cpu_set_t current() {
    cpu_set_t set;
    CPU_ZERO(&set);
    ::sched_getaffinity(0, sizeof set, &set);
    return set;
}

}  // namespace

const cpu_set_t& affinity::all() {
    static const cpu_set_t set = current();
    return set;
}

affinity::affinity(int cpus) : before_(current()) {
    cpu_set_t chosen;
    CPU_ZERO(&chosen);
    int left = cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE && left > 0; ++cpu) {
        if (CPU_ISSET(cpu, &all())) {
            CPU_SET(cpu, &chosen);
            --left;
        }
    }
    ::sched_setaffinity(0, sizeof chosen, &chosen);
}

affinity::~affinity() { ::sched_setaffinity(0, sizeof before_, &before_); }

}  // namespace bench
