// Whether this process has a child, running or ended and not waited for. Takes nothing away from who waits for one.
#pragma once

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/wait.h>

#include "scheduler/base/sanitizers.hpp"

namespace fiber_test {

// TSan starts its symbolizer as a child of the tested process, and keeps it: at the first report that it then keeps to
// itself, which is at any time or never.
inline bool only_symbolizers_left() {
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream children(thread.path() / "children");
        for (std::string child, name; children >> child;) {
            std::ifstream("/proc/" + child + "/comm") >> name;
            if (!name.starts_with("llvm-symbolizer")) return false;
        }
    }
    return true;
}

inline bool no_children_left() {
    siginfo_t any{};
    if (::waitid(P_ALL, 0, &any, WEXITED | WNOHANG | WNOWAIT) == -1) return errno == ECHILD;
    return FIBER_TSAN && only_symbolizers_left();
}

}  // namespace fiber_test
