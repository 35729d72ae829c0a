#include "fiber/detail/describe.hpp"

#include <cstdlib>
#include <cxxabi.h>
#include <typeinfo>

namespace fiber::detail {

namespace {

std::string type_name(const std::type_info& type) {
    int status = 0;
    char* readable = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
    std::string name = status == 0 && readable != nullptr ? readable : type.name();
    std::free(readable);
    return name;
}

}  // namespace

std::string describe(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        return type_name(typeid(e)) + ": " + e.what();
    } catch (...) {
        const std::type_info* type = abi::__cxa_current_exception_type();
        return type != nullptr ? type_name(*type) : "an exception";
    }
}

}  // namespace fiber::detail
