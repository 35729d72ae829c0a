// What a test makes the library write to stderr. Owned by the test case; one at a time.
#pragma once

#include <cstdio>
#include <string>
#include <unistd.h>
#include <utility>

namespace fiber::test {

// Takes what is written to descriptor 2 while it lives.
class captured_stderr {
 public:
    captured_stderr() : file_(std::tmpfile()), saved_(dup(STDERR_FILENO)) { dup2(fileno(file_), STDERR_FILENO); }
    captured_stderr(const captured_stderr&) = delete;
    captured_stderr& operator=(const captured_stderr&) = delete;
    ~captured_stderr() {
        restore();
        std::fclose(file_);
    }

    std::string text() {
        restore();
        std::string content;
        std::rewind(file_);
        for (int c = std::fgetc(file_); c != EOF; c = std::fgetc(file_)) content.push_back(static_cast<char>(c));
        return content;
    }

 private:
    void restore() {
        if (saved_ < 0) return;
        std::fflush(stderr);
        dup2(saved_, STDERR_FILENO);
        close(std::exchange(saved_, -1));
    }

    std::FILE* file_;
    int saved_;
};

}  // namespace fiber::test
