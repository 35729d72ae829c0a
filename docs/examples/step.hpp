// What the examples share: printing a step with the time of day.
#pragma once

#include <cstdio>
#include <ctime>
#include <string>

// Prints "HH:MM:SS step". One call writes one whole line, also from several threads.
inline void say(const std::string& step) {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&now, &local);
    char clock[16];
    std::strftime(clock, sizeof clock, "%H:%M:%S", &local);
    std::printf("%s %s\n", clock, step.c_str());
    std::fflush(stdout);
}
