#include "bench/peers/configuration.hpp"

#include "bench/peers/systems.hpp"

namespace bench {

std::vector<std::pair<std::string, std::string>> configurations() {
    std::vector<std::pair<std::string, std::string>> all;
    auto one = [&]<class System>() {
        if constexpr (System::available) all.emplace_back(System::name, System::configuration());
    };
    one.template operator()<fibers>();
    one.template operator()<threads>();
    one.template operator()<raw_switch>();
    one.template operator()<boost_fibers>();
    one.template operator()<tbb_tasks>();
    return all;
}

}  // namespace bench
