// Boost.Context's jump_fcontext without anything around it: the floor under every stackful library, not a rival.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <memory>
#include <utility>

#include "bench/harness/affinity.hpp"

namespace bench {

struct raw_switch {
    static constexpr const char* name = "raw";
    static constexpr bool available = true;
    static const char* configuration() { return "make_fcontext/jump_fcontext of Boost.Context, two contexts"; }

    template <class F>
    static void run(int workers, F&& f) {
        affinity on(workers);
        f();
    }

    // Two sides that jump back and forth: `there` runs on the other stack before each jump back.
    template <class There>
    class pair {
     public:
        explicit pair(There there)
            : there_(std::move(there)),
              stack_(std::make_unique<char[]>(size)),
              other_(boost::context::detail::make_fcontext(stack_.get() + size, size, &entry)) {}
        // There and back: two switches.
        void round() { other_ = boost::context::detail::jump_fcontext(other_, this).fctx; }

     private:
        static constexpr std::size_t size = 64 * 1024;

        [[noreturn]] static void entry(boost::context::detail::transfer_t from) {
            auto* self = static_cast<pair*>(from.data);
            for (;;) {
                self->there_();
                from = boost::context::detail::jump_fcontext(from.fctx, nullptr);
            }
        }

        There there_;
        std::unique_ptr<char[]> stack_;
        boost::context::detail::fcontext_t other_;
    };
};

}  // namespace bench
