#!/usr/bin/env python3
"""The library compiles without a warning, with each compiler that is installed, and each of its headers compiles alone.

Syntax only: fast. What a compiler sees only while it optimises, the builds of tests/run see, which turn warnings into errors.

Usage: compiler_warnings.py [compiler...]      default: g++ clang++-14 clang++-19, as far as they are installed
"""

import os
import shutil
import sys
import time

from report import ROOT, Report, in_parallel, run, tracked_files, without_missing

FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I", ROOT]


def compile_alone(compiler, path):
    if path.endswith(".hpp"):  # through a file of its own: clang has warnings for a header as the main file
        return run([compiler, *FLAGS, "-x", "c++", "-"], input=f'#include "{path}"\n', cwd=ROOT)[0]
    return run([compiler, *FLAGS, path], cwd=ROOT)[0]


def main():
    report = Report()
    sources = [path for path in tracked_files(ROOT, "scheduler", "fiber") if path.endswith((".cpp", ".hpp"))]
    compilers = sys.argv[1:] or ["g++", "clang++-14", "clang++-19"]
    for compiler in compilers:
        if shutil.which(compiler) is None and not sys.argv[1:]:
            print(f"not tried, not installed: {compiler}")
            continue
        start = time.monotonic()
        # Headers alone with the first compiler only: the others see them through the sources, and time is short.
        mine = [path for path in sources if path.endswith(".cpp") or compiler == compilers[0]]
        mine = without_missing(report, f"warnings: {compiler}", mine, compiler)
        problems = [problem for problem in in_parallel(lambda path: compile_alone(compiler, path), mine) if problem]
        report.add(f"warnings: {compiler} has none", problems if sources else "there are no sources",
                   time.monotonic() - start)
    report.finish()


if __name__ == "__main__":
    main()
