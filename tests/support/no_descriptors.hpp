// While it lives, the process can open no descriptor. UBSan opens some to look at memory: look at exceptions
// afterwards.
#pragma once

#include <sys/resource.h>

namespace fiber_test {

class no_descriptors {
 public:
    no_descriptors() {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        rlimit none = before_;
        none.rlim_cur = 0;
        ::setrlimit(RLIMIT_NOFILE, &none);
    }
    ~no_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
    no_descriptors(const no_descriptors&) = delete;
    no_descriptors& operator=(const no_descriptors&) = delete;

 private:
    rlimit before_{};
};

}  // namespace fiber_test
