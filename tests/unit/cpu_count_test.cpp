// How many processors the process may use, from files of a made-up root directory and from the real affinity mask.
#include "scheduler/core/cpu_count.hpp"

#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <sched.h>
#include <string>
#include <thread>

#include "tests/support/temporary_directory.hpp"

namespace {

using fiber::engine::affinity_cpus;
using fiber::engine::available_cpus;
using fiber::engine::cgroup_cpus;
using fiber::engine::unlimited_cpus;

// A directory that stands for "/".
class fake_root {
 public:
    void write(const std::string& name, const std::string& text) const {
        const std::string whole = place_.path() + name;
        std::filesystem::create_directories(std::filesystem::path(whole).parent_path());
        std::ofstream(whole) << text;
    }
    unsigned cpus() const { return cgroup_cpus(place_.path().c_str()); }

 private:
    fiber_test::temporary_directory place_;
};

constexpr const char* v2_mount =
    "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
    "31 22 0:27 / /sys/fs/cgroup rw,nosuid shared:9 master:2 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* v1_mount =
    "32 31 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:4 - cgroup cgroup rw,cpu,cpuacct\n";

}  // namespace

TEST_CASE("cpu_count: no cgroups at all limit nothing") {
    fake_root root;
    CHECK(root.cpus() == unlimited_cpus);
    root.write("/proc/self/mountinfo", "22 1 0:20 / / rw - ext4 /dev/vda rw\n\nnonsense\n- cgroup2");
    root.write("/proc/self/cgroup", "nonsense\n:\n");
    CHECK(root.cpus() == unlimited_cpus);
}

TEST_CASE("cpu_count: version 2, quota of the own group, rounded up") {
    fake_root root;
    root.write("/proc/self/mountinfo", v2_mount);
    root.write("/proc/self/cgroup", "0::/user.slice/app\n");
    CHECK(root.cpus() == unlimited_cpus);
    const auto with = [&](const char* text) {
        root.write("/sys/fs/cgroup/user.slice/app/cpu.max", text);
        return root.cpus();
    };
    CHECK(with("max 100000\n") == unlimited_cpus);
    CHECK(with("200000 100000\n") == 2);
    CHECK(with("150000 100000\n") == 2);
    CHECK(with("200001 100000\n") == 3);
    CHECK(with("1000 100000\n") == 1);
    CHECK(with("9000000000000000000 1\n") == unlimited_cpus - 1);
    CHECK(with("") == unlimited_cpus);
    CHECK(with("200000") == unlimited_cpus);
    CHECK(with("-1 100000") == unlimited_cpus);
    CHECK(with("100000 0") == unlimited_cpus);
}

TEST_CASE("cpu_count: version 2, the smallest quota of the ancestors counts") {
    fake_root root;
    root.write("/proc/self/mountinfo", v2_mount);
    root.write("/proc/self/cgroup", "0::/a/b/c\n");
    root.write("/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
    root.write("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    CHECK(root.cpus() == 3);
    root.write("/sys/fs/cgroup/cpu.max", "50000 100000\n");
    CHECK(root.cpus() == 1);
}

TEST_CASE("cpu_count: version 2 in a container, whose root is not the hierarchy's") {
    fake_root root;
    SUBCASE("own namespace") {
        root.write("/proc/self/mountinfo", v2_mount);
        root.write("/proc/self/cgroup", "0::/\n");
    }
    SUBCASE("a part of the hierarchy is mounted") {
        root.write("/proc/self/mountinfo", "31 22 0:27 /docker/1234 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        root.write("/proc/self/cgroup", "0::/docker/1234\n");
    }
    SUBCASE("the path only begins like the part that is mounted") {
        root.write("/proc/self/mountinfo", "31 22 0:27 /docker/12 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        root.write("/proc/self/cgroup", "0::/docker/1234\n");
        root.write("/sys/fs/cgroup34/cpu.max", "100000 100000\n");
    }
    SUBCASE("the path is not visible here") {
        root.write("/proc/self/mountinfo", v2_mount);
        root.write("/proc/self/cgroup", "0::/docker/1234\n");
    }
    root.write("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    CHECK(root.cpus() == 4);
}

TEST_CASE("cpu_count: version 1") {
    fake_root root;
    root.write("/proc/self/mountinfo", v1_mount);
    root.write("/proc/self/cgroup", "5:cpuset:/elsewhere\n3:cpu,cpuacct:/app\n0::/\n");
    root.write("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", "100000\n");
    CHECK(root.cpus() == unlimited_cpus);
    root.write("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "-1\n");
    CHECK(root.cpus() == unlimited_cpus);
    root.write("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "250000\n");
    CHECK(root.cpus() == 3);
    // A quota beside the own path, or of another hierarchy, is none of ours.
    root.write("/sys/fs/cgroup/cpu,cpuacct/elsewhere/cpu.cfs_quota_us", "100000\n");
    root.write("/sys/fs/cgroup/cpuset/cpu.max", "100000 100000\n");
    CHECK(root.cpus() == 3);
}

TEST_CASE("cpu_count: both versions mounted, the smaller counts") {
    fake_root root;
    root.write("/proc/self/mountinfo", std::string(v1_mount) + v2_mount);
    root.write("/proc/self/cgroup", "3:cpu,cpuacct:/\n0::/\n");
    root.write("/sys/fs/cgroup/cpu.max", "500000 100000\n");
    root.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "600000\n");
    root.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    CHECK(root.cpus() == 5);
}

TEST_CASE("cpu_count: the affinity mask of the calling thread is honoured") {
    CHECK(available_cpus() >= 1);
    CHECK(available_cpus() <= affinity_cpus());
    unsigned in_thread = 0;
    std::thread([&] {
        cpu_set_t all;
        REQUIRE(::sched_getaffinity(0, sizeof all, &all) == 0);
        int first = 0;
        while (!CPU_ISSET(first, &all)) ++first;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(first, &one);
        REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
        in_thread = available_cpus();
    }).join();
    CHECK(in_thread == 1);
}
