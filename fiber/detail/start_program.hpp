// posix_spawn(3) with all that a child of ours gets, and the end of such a child. Not for users: only .cpp files
// include it. Any thread.
#pragma once

#include <string>
#include <sys/types.h>
#include <vector>

#include "fiber/process_options.hpp"

namespace fiber::detail {

// Throws invalid_option for what cannot be meant, before anything is opened.
void check_program(const process_options& options, const std::vector<std::string>& arguments);

// Starts it. `pipes`: the child's ends of those streams that are stdio::pipe. Throws std::system_error that names the
// program or the directory, std::bad_alloc; then nothing was started. Requires: check_program().
pid_t start_program(const process_options& options, const std::vector<std::string>& arguments, const int (&pipes)[3]);

enum class reap_verdict { running, ended, gone };  // gone: the status was taken by somebody else

// Takes the status of a child that has ended. Waits for that if it is told to, and then blocks the thread.
enum class blocking : bool { no, yes };
reap_verdict reap(pid_t child, blocking may_block, exit_status& status) noexcept;

// -1: the kernel, or whoever restricts us, has no such thing, or no descriptor is to be had.
int open_pidfd(pid_t child) noexcept;
// 0 or an errno. Without a pidfd only while nobody has taken the status.
int send_signal(pid_t child, int pidfd, int signal) noexcept;

}  // namespace fiber::detail
