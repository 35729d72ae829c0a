// What model tests say about a report; a failure prints the schedule and the trace.
#pragma once

#include <doctest/doctest.h>
#include <string>
#include <utility>

#include "tests/model/defect.hpp"
#include "tests/model/explorer.hpp"

namespace model {

inline void must_pass(const report& result) {
    CHECK_MESSAGE((result.passed() || (sanitized && !result.failed())), result.text());
}

// `words`: part of what the failure must say.
inline void must_fail(const report& result, const std::string& words = "") {
    if (sanitized && result.verdict == verdict::gave_up) return;
    CHECK_MESSAGE(result.failed(), result.text());
    CHECK_MESSAGE(result.failure.find(words) != std::string::npos, "not \"" << words << "\" but: " << result.text());
}

// With the defect in the words under it the body has a data race.
template <class Body>
void must_race_with(defect what, Body body) {
    const with_defect seeded(what);
    must_fail(explore(std::move(body)), "data race");
}

}  // namespace model
