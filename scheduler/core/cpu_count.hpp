// How many processors this process may use: the default for the number of workers and of offload threads.
// The processors of a machine are the wrong answer in a container and under taskset: more threads than may run at once
// only take time slices from each other, and a cgroup that has used up its quota stands still for the rest of the
// period.
#pragma once

namespace fiber::engine {

// Any thread. At least 1. The smaller of the calling thread's affinity mask and the CPU quota of its cgroup (version 1
// or 2, its ancestors' quotas included), rounded up: one and a half processors' worth of time needs two threads to be
// used. Reads files: not for a hot path.
unsigned available_cpus() noexcept;

// The two halves, for tests. Both at least 1.
unsigned affinity_cpus() noexcept;
// `root` stands before every path that is read ("" in earnest). `unlimited` when no quota is set, or none can be read.
inline constexpr unsigned unlimited_cpus = ~0U;
unsigned cgroup_cpus(const char* root) noexcept;

}  // namespace fiber::engine
