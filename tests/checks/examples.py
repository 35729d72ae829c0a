#!/usr/bin/env python3
"""The five tutorial programs of docs/examples print what a reader expects, in that order and in that time.

All run at once, so the check lasts as long as the slowest. A line in braces may stand anywhere among its neighbours in
braces: what several workers print at the same moment has no order.

Usage: examples.py <build directory, built with docs enabled>
"""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor

from report import Report, run

NUMBERS = range(1, 6)
# name: (seconds, lines without the time of day)
EXPECTED = {
    "01_sequential_sleeps": (4, ["started", "hello", "world", "finished"]),
    "02_two_tasks": (2, ["started", "{hello}", "{world}", "finished"]),
    "03_gather": (2, ["started", *(f"{{task {n} starts}}" for n in NUMBERS), "{}",
                      *(f"{{task {n} ends}}" for n in NUMBERS), "finished"]),
    "04_gather_results": (2, ["started", *(f"result {n}" for n in NUMBERS), "finished"]),
    "05_blocking_calls": (2, ["started", *(f"call {n}" for n in NUMBERS), "finished"]),
}
EARLY = 0.02     # clocks are read at slightly different places
TOLERANCE = 0.7  # the start of the process, and a machine that does something else as well
TRIES = 5        # a machine may be busier than that; a program that waits for too long does so each time


def groups(lines):
    """Lines in braces that follow each other become one sorted group; "{}" ends a group."""
    result, free = [], False
    for line in lines:
        braced = line.startswith("{")
        if line == "{}" or not (braced and free):
            result.append([])
        if line != "{}":
            result[-1].append(line.strip("{}"))
        free = braced
    return [sorted(group) for group in result if group]


def problems_of(output, seconds, expected_seconds, expected_lines):
    problems = []
    lines = output.splitlines()
    malformed = [line for line in lines if not re.fullmatch(r"\d\d:\d\d:\d\d .+", line)]
    if malformed:
        problems.append(f"not 'HH:MM:SS step': {malformed}")
    steps = [line[9:] for line in lines]
    at = 0
    for group in groups(expected_lines):
        if sorted(steps[at:at + len(group)]) != group:
            problems.append(f"expected {group} at line {at + 1} of\n{output}")
            break
        at += len(group)
    else:
        if steps[at:]:
            problems.append(f"unexpected lines: {steps[at:]}")
    if not expected_seconds - EARLY <= seconds <= expected_seconds + TOLERANCE:
        problems.append(f"took {seconds:.2f} s instead of {expected_seconds} s")
    return problems


def main():
    report = Report()
    build = sys.argv[1]

    def one(name):
        for _ in range(TRIES):
            result = run([os.path.join(build, "docs/example_" + name)], timeout=60)
            if result[0] or result[2] <= EXPECTED[name][0] + TOLERANCE:
                break
        return name, *result

    with ThreadPoolExecutor(max_workers=len(EXPECTED)) as pool:
        for name, problem, output, seconds in list(pool.map(one, EXPECTED)):
            report.add(f"example {name}", problem or problems_of(output, seconds, *EXPECTED[name]), seconds)
    report.finish()


if __name__ == "__main__":
    main()
