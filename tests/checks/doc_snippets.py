#!/usr/bin/env python3
"""The code in the pages compiles: every ```cpp block of README.md and docs/*.md.

A block with an #include is a whole file. Any other block is the body of a function, behind <fiber/fiber.hpp>, the usual
standard headers and the declarations that the page makes in a comment which readers do not see:
    <!-- cpp
    std::string fetch(const std::string& address);
    -->
A block behind the comment "<!-- from docs/examples/x.cpp -->" is a part of that file, line by line; the build compiles it.

Usage: doc_snippets.py [compiler]
"""

import glob
import os
import re
import sys
import textwrap

from report import ROOT, Report, in_parallel, run

STANDARD = ["algorithm", "atomic", "chrono", "cstdio", "exception", "memory", "mutex", "optional", "stdexcept", "string",
            "thread", "tuple", "utility", "vector"]
PREAMBLE = "".join(f"#include <{name}>\n" for name in STANDARD) + \
    "#include <fiber/fiber.hpp>\nusing namespace std::chrono_literals;\n"
# Fences and comments, in the order of the page. Declarations count from their place on.
PIECE = re.compile(r"^<!-- cpp\n(?P<hidden>.*?)^-->$|(?:^<!-- from (?P<file>\S+) -->\n+)?^```cpp\n(?P<code>.*?)^```$",
                   re.MULTILINE | re.DOTALL)


def pieces(path):
    """(line of the code, hidden declaration or None, file or None, code or None) for each piece of the page."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    for found in PIECE.finditer(text):
        group = "hidden" if found["hidden"] is not None else "code"
        yield text.count("\n", 0, found.start(group)) + 1, found["hidden"], found["file"], found["code"]


def compile_text(compiler, text):
    return run([compiler, "-std=c++20", "-Wall", "-Wextra", "-fsyntax-only", "-I" + ROOT, "-x", "c++", "-"], input=text)


def check_page(arguments):
    """[(name, problem, seconds)] of a page: its fragments together, its whole programs one by one, its excerpts."""
    compiler, path = arguments
    results, fragments = [], []
    for line, hidden, file, code in pieces(path):
        place = f'#line {line} "{path}"\n'
        if hidden is not None:
            fragments.append(place + hidden)
        elif file is not None:
            results.append((f"{path}:{line} is in {file}", is_excerpt(code, file), 0.0))
        elif "#include" in code:
            problem, _, seconds = compile_text(compiler, place + code)
            results.append((f"{path}:{line} compiles", problem, seconds))
        else:
            fragments.append(f"[[maybe_unused]] static void at_line_{line}() {{\n{place}{code}}}\n")
    if fragments:
        problem, _, seconds = compile_text(compiler, PREAMBLE + "\n".join(fragments))
        results.append((f"{path}: {len(fragments)} fragments compile", problem, seconds))
    return results


def is_excerpt(code, file):
    path = os.path.join(ROOT, file)
    if not os.path.exists(path):
        return f"there is no {file}"
    with open(path, encoding="utf-8") as source:
        whole = [line.strip() for line in source]
    part = [line.strip() for line in textwrap.dedent(code).splitlines()]
    if any(whole[at:at + len(part)] == part for at in range(len(whole))):
        return ""
    return f"not a part of {file}:\n{code}"


def main():
    report = Report()
    compiler = sys.argv[1] if len(sys.argv) > 1 else "g++"
    pages = ["README.md"] + sorted(os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "docs/*.md")))
    for results in in_parallel(check_page, [(compiler, page) for page in pages]):
        for name, problem, seconds in results:
            report.add(name, problem, seconds)
    report.finish()


if __name__ == "__main__":
    main()
