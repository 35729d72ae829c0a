// How each system of this build is configured, in words: printed with the results, so that nobody needs to guess.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace bench {

std::vector<std::pair<std::string, std::string>> configurations();

}  // namespace bench
