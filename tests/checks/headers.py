#!/usr/bin/env python3
"""Every public header compiles alone, from an installed copy, and costs no more than its budget.

The cost is the number of lines that are left after preprocessing, without blank ones: it does not depend on how busy the
machine is, and compile time follows it. The budgets stand in header_budgets.txt. Prints a table.

Usage: headers.py <build directory> [compiler]
"""

import glob
import os
import re
import sys
import tempfile

from report import Report, in_parallel, install, run, without_missing

BUDGETS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "header_budgets.txt")


def read_budgets():
    with open(BUDGETS, encoding="utf-8") as file:
        lines = [line.split("#")[0].split() for line in file]
    return {name: int(budget) for name, budget in (line for line in lines if line)}


def examine(header, include, compiler):
    """(problem, lines, seconds): compiles a file that includes nothing but this header, twice."""
    command = [compiler, "-std=c++20", "-x", "c++", "-I", include, "-"]
    text = f"#include <fiber/{header}>\n#include <fiber/{header}>\n"
    # What users compile with: our own sources are not held to all of it.
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wsign-conversion", "-Wold-style-cast",
                "-Wnon-virtual-dtor", "-Woverloaded-virtual"]
    problem, _, seconds = run([*command, *warnings, "-Werror", "-fsyntax-only"], input=text)
    preprocessed = run([*command, "-E", "-P"], input=text)[1]
    return problem, len(re.findall(r"^.*\S", preprocessed, re.MULTILINE)), seconds


def main():
    build, compiler = os.path.abspath(sys.argv[1]), (sys.argv[2:] or ["g++"])[0]
    report, budgets = Report(), read_budgets()
    with tempfile.TemporaryDirectory() as place:
        problem, prefix = install(build, place)
        include = os.path.join(prefix, "include/fiber-0")
        headers = sorted(os.path.relpath(path, include + "/fiber")
                         for path in glob.glob(include + "/fiber/**/*.hpp", recursive=True) if "/detail/" not in path)
        if problem or not headers:
            report.add("public headers: installed", problem or "there are none")
        installed = headers
        tried = without_missing(report, "public headers", ["fiber/" + name for name in headers], compiler)
        headers = [path.removeprefix("fiber/") for path in tried]
        results = in_parallel(lambda header: examine(header, include, compiler), headers)
    print(f"{'header':<28}{'lines':>8}{'budget':>8}{'ms':>7}")
    for header, (problem, lines, seconds) in zip(headers, results):
        budget = budgets.get(header, budgets["*"])
        print(f"{header:<28}{lines:>8}{budget:>8}{seconds * 1000:>7.0f}")
        report.add(f"public headers: {header} compiles alone", problem, seconds)
        report.add(f"public headers: {header} keeps its budget",
                   f"{lines} lines after preprocessing, {budget} allowed (header_budgets.txt)" if lines > budget else "")
    for name in sorted(set(budgets) - set(installed) - {"*"}):
        report.add(f"public headers: budget of {name}", "there is no such header")
    report.finish()


if __name__ == "__main__":
    main()
