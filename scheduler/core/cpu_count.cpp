// Reads the affinity mask and the cgroup files. The paths come from /proc/self/mountinfo, for the hierarchies may be
// mounted anywhere, and a container sees a part of them under a path that /proc/self/cgroup does not name.
#include "scheduler/core/cpu_count.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <sched.h>
#include <sstream>
#include <string>
#include <vector>

namespace fiber::engine {

namespace {

enum class cgroup_version { v1, v2 };

// One mounted hierarchy that can limit the CPU.
struct hierarchy {
    cgroup_version version;
    std::string inside;   // the part of the hierarchy that the mount shows
    std::string mounted;  // where it shows it
};

bool lists(const std::string& comma_separated, const std::string& word) {
    std::istringstream stream(comma_separated);
    for (std::string item; std::getline(stream, item, ',');) {
        if (item == word) return true;
    }
    return false;
}

// A line: id parent device inside mounted options [tags…] - type source super_options
std::vector<hierarchy> mounted_hierarchies(const std::string& root) {
    std::vector<hierarchy> found;
    std::ifstream file(root + "/proc/self/mountinfo");
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string skipped, inside, mounted, type, source, super_options;
        words >> skipped >> skipped >> skipped >> inside >> mounted;
        while (words >> skipped && skipped != "-") {
        }
        words >> type >> source >> super_options;
        if (type == "cgroup2") {
            found.push_back({cgroup_version::v2, inside, mounted});
        } else if (type == "cgroup" && lists(super_options, "cpu")) {
            found.push_back({cgroup_version::v1, inside, mounted});
        }
    }
    return found;
}

// This process's place in the hierarchy. A line: id:controllers:path, with no controllers for version 2.
std::string own_path(const std::string& root, cgroup_version version) {
    std::ifstream file(root + "/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        const auto first = line.find(':');
        const auto second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (version == cgroup_version::v2 ? controllers.empty() : lists(controllers, "cpu"))
            return line.substr(second + 1);
    }
    return "/";
}

unsigned whole_cpus(std::int64_t quota, std::int64_t period) {
    if (quota <= 0 || period <= 0) return unlimited_cpus;
    return static_cast<unsigned>(std::clamp<std::int64_t>((quota - 1) / period + 1, 1, unlimited_cpus - 1));
}

unsigned quota_of(const std::string& directory, cgroup_version version) {
    std::int64_t quota = 0;
    std::int64_t period = 0;
    if (version == cgroup_version::v2) {
        // "max 100000" does not parse as a number and leaves 0: no limit.
        std::ifstream(directory + "/cpu.max") >> quota >> period;
    } else {
        std::ifstream(directory + "/cpu.cfs_quota_us") >> quota;
        std::ifstream(directory + "/cpu.cfs_period_us") >> period;
    }
    return whole_cpus(quota, period);
}

// The smallest quota on the way from the process's own group up to the mount point. Groups that cannot be read limit
// nothing.
unsigned smallest_quota(const std::string& root, const hierarchy& where) {
    std::string path = own_path(root, where.version);
    const std::string above = where.inside == "/" ? "/" : where.inside + "/";
    if ((path + "/").compare(0, above.size(), above) == 0) path.erase(0, above.size() - 1);
    unsigned smallest = unlimited_cpus;
    for (;;) {
        while (!path.empty() && path.back() == '/') path.pop_back();
        smallest = std::min(smallest, quota_of(root + where.mounted + path, where.version));
        if (path.empty()) return smallest;
        path.erase(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
    }
}

}  // namespace

unsigned affinity_cpus() noexcept {
    // The kernel refuses a mask that is shorter than its own, whose length nothing tells.
    for (int cpus = CPU_SETSIZE; cpus <= (1 << 20); cpus *= 2) {
        cpu_set_t* mask = CPU_ALLOC(cpus);
        if (mask == nullptr) break;
        const std::size_t size = CPU_ALLOC_SIZE(cpus);
        const bool known = ::sched_getaffinity(0, size, mask) == 0;
        const bool too_short = !known && errno == EINVAL;
        const int count = known ? CPU_COUNT_S(size, mask) : 0;
        CPU_FREE(mask);
        if (known) return static_cast<unsigned>(std::max(count, 1));
        if (!too_short) break;
    }
    return 1;
}

unsigned cgroup_cpus(const char* root) noexcept {
    try {
        unsigned smallest = unlimited_cpus;
        for (const hierarchy& where : mounted_hierarchies(root))
            smallest = std::min(smallest, smallest_quota(root, where));
        return smallest;
    } catch (const std::exception&) {
        return unlimited_cpus;  // out of memory: a default is not worth dying for
    }
}

unsigned available_cpus() noexcept { return std::min(affinity_cpus(), cgroup_cpus("")); }

}  // namespace fiber::engine
