#include "fiber/process_options.hpp"

namespace fiber {

std::string exit_status::to_string() const {
    return exited() ? "exit code " + std::to_string(code_) : "signal " + std::to_string(signal_);
}

}  // namespace fiber
