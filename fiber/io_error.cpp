#include "fiber/io_error.hpp"

#include <string>

namespace fiber::io {

namespace {

class io_category : public std::error_category {
 public:
    const char* name() const noexcept override { return "fiber.io"; }
    std::string message(int code) const override {
        switch (static_cast<errc>(code)) {
            case errc::closed:
                return "it was closed on this side";
            case errc::end_of_stream:
                return "the other side has sent everything, and that was not enough";
            case errc::limit_overrun:
                return "what was looked for did not come within the limit";
        }
        return "unknown";
    }
};

}  // namespace

const std::error_category& category() noexcept {
    static const io_category instance;
    return instance;
}

}  // namespace fiber::io
