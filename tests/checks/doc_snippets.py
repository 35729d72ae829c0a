#!/usr/bin/env python3
"""The code in the pages is true: every ```cpp block of README.md, docs/*.md and docs/api/*.md.

A block with an #include is a whole file, and compiles. If a ```text block follows it, it is a program: it is linked with
the library and run several times, must end with status 0, and prints each time exactly what the block shows (standard
output, then standard error). Its standard error may name the file "example.cpp".
Any other block is the body of a function, behind <fiber/fiber.hpp>, the usual standard headers and the declarations that
the page makes in a comment which readers do not see; it compiles:
    <!-- cpp
    std::string fetch(const std::string& address);
    -->
A block behind the comment "<!-- from docs/examples/x.cpp -->" is a part of that file, line by line; the build compiles it.

Usage: doc_snippets.py <build directory> [compiler]
       doc_snippets.py --self-test <build directory>
"""

import difflib
import glob
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time

from report import ROOT, Report, in_parallel, run, without_missing

STANDARD = ["algorithm", "atomic", "chrono", "cstdio", "exception", "functional", "memory", "mutex", "optional",
            "shared_mutex", "span", "stdexcept", "stop_token", "string", "system_error", "thread", "tuple", "utility",
            "vector"]
PREAMBLE = "".join(f"#include <{name}>\n" for name in STANDARD) + \
    "#include <fiber/fiber.hpp>\nusing namespace std::chrono_literals;\n"
# Fences and comments, in the order of the page. Declarations count from their place on.
PIECE = re.compile(r"^<!-- cpp\n(?P<hidden>.*?)^-->$|(?:^<!-- from (?P<file>\S+) -->\n+)?^```cpp\n(?P<code>.*?)^```$"
                   r"(?:\n+^```text\n(?P<output>.*?)^```$)?", re.MULTILINE | re.DOTALL)
RUNS = 3          # what depends on who comes first shows in one of them
TIME_LIMIT = 20   # seconds a run


def pieces(text):
    """(line of the code, hidden declaration, file, code, output) for each piece of the page; None where there is none."""
    for found in PIECE.finditer(text):
        group = "hidden" if found["hidden"] is not None else "code"
        yield text.count("\n", 0, found.start(group)) + 1, found["hidden"], found["file"], found["code"], found["output"]


def compile_text(compiler, text):
    return run([compiler, "-std=c++20", "-Wall", "-Wextra", "-fsyntax-only", "-I" + ROOT, "-x", "c++", "-"], input=text)


def build_program(tools, code, place):
    compiler, library = tools
    with open(os.path.join(place, "example.cpp"), "w", encoding="utf-8") as file:
        file.write(code)
    return run([compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-I" + ROOT, "example.cpp", library,
                "-Wl,-rpath," + os.path.dirname(library), "-lboost_context", "-pthread", "-o", "example"], cwd=place)


def run_program(place, expected):
    """A problem, or "": one run prints what is expected."""
    try:
        done = subprocess.run([os.path.join(place, "example")], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return f"has not ended after {TIME_LIMIT} s"
    printed = done.stdout + done.stderr
    if done.returncode != 0:
        return f"exit status {done.returncode}\n{printed}"
    if printed != expected:
        return "prints something else than the page shows:\n" + "\n".join(
            difflib.unified_diff(expected.splitlines(), printed.splitlines(), "page", "program", lineterm="", n=99))
    return ""


def check_program(name, tools, code, output):
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        problem, _, _ = build_program(tools, code, place)
        for _ in range(RUNS):
            problem = problem or run_program(place, output)
    return name, problem, time.monotonic() - start


def check_whole_file(name, tools, code):
    problem, _, seconds = compile_text(tools[0], code)
    return name, problem, seconds


def check_fragments(name, tools, fragments):
    problem, _, seconds = compile_text(tools[0], PREAMBLE + "\n".join(fragments))
    return name, problem, seconds


def check_excerpt(name, _, code, file):
    path = os.path.join(ROOT, file)
    if not os.path.exists(path):
        return name, f"there is no {file}", 0.0
    with open(path, encoding="utf-8") as source:
        whole = [line.strip() for line in source]
    part = [line.strip() for line in textwrap.dedent(code).splitlines()]
    found = any(whole[at:at + len(part)] == part for at in range(len(whole)))
    return name, "" if found else f"not a part of {file}:\n{code}", 0.0


def jobs_of(path, text):
    """What is to be checked on a page: (function, name, arguments...) each."""
    jobs, fragments = [], []
    for line, hidden, file, code, output in pieces(text):
        place = f'#line {line} "{path}"\n'
        if hidden is not None:
            fragments.append(place + hidden)
        elif file is not None:
            jobs.append((check_excerpt, f"{path}:{line} is in {file}", code, file))
        elif "#include" in code and output is not None:
            jobs.append((check_program, f"{path}:{line} prints what it shows", code, output))
        elif "#include" in code:
            jobs.append((check_whole_file, f"{path}:{line} compiles", place + code))
        else:
            fragments.append(f"[[maybe_unused]] static void at_line_{line}() {{\n{place}{code}}}\n")
    if fragments:
        jobs.append((check_fragments, f"{path}: {len(fragments)} fragments compile", fragments))
    return jobs


def check(jobs, tools):
    """[(name, problem, seconds)]"""
    return in_parallel(lambda job: job[0](job[1], tools, *job[2:]), jobs)


def find_library(build):
    for name in ("libfiber.a", "libfiber.so"):
        path = os.path.join(os.path.abspath(build), name)
        if os.path.exists(path):
            return path
    sys.exit(f"there is no libfiber in {build}: build it first")


PROGRAM = "```cpp\n#include <cstdio>\n#include <fiber/run.hpp>\nint main() {{ return fiber::run([] {{ {body} }}); }}\n```\n"


def self_test(report, tools):
    """Pages with a known defect each: the check must see it, and must not see one in the page that has none."""
    good = PROGRAM.format(body='std::puts("a"); return 0;')
    cases = {
        "a program that prints what it shows": (good + "\n```text\na\n```\n", ""),
        "a program that prints something else": (good + "\n```text\nb\n```\n", "something else"),
        "a program that prints more": (good + "\n```text\n```\n", "something else"),
        "a program that ends with an error": (PROGRAM.format(body="return 3;") + "```text\n```\n", "exit status 3"),
        "a program that does not compile": (PROGRAM.format(body="return x;") + "```text\n```\n", "error:"),
        "a file that does not compile": (PROGRAM.format(body="return x;"), "error:"),
        "a fragment that does not compile": ("```cpp\nint y = x;\n```\n", "error:"),
        "a fragment that needs what the page declares": ("<!-- cpp\nint x();\n-->\n```cpp\n(void)x();\n```\n", ""),
        "an excerpt that is none": ("<!-- from docs/examples/03_gather.cpp -->\n```cpp\nno;\n```\n", "not a part"),
        "an excerpt of no file": ("<!-- from docs/examples/no.cpp -->\n```cpp\nno;\n```\n", "there is no"),
    }
    for name, (text, expected) in cases.items():
        problems = [problem for _, problem, _ in check(jobs_of("page.md", text), tools)]
        found = len(problems) == 1 and (expected in problems[0] if expected else not problems[0])
        report.add("pages, self-test: " + name, "" if found else f"expected {expected!r}, found {problems}")


def main():
    report = Report()
    arguments = [argument for argument in sys.argv[1:] if argument != "--self-test"]
    tools = (arguments[1] if len(arguments) > 1 else "g++", find_library(arguments[0]))
    if "--self-test" in sys.argv:
        self_test(report, tools)
        report.finish()
    jobs = []
    for path in ["README.md"] + sorted(glob.glob("docs/*.md", root_dir=ROOT) + glob.glob("docs/api/*.md", root_dir=ROOT)):
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read()
        needs = ["fiber/asio.hpp"] if "#include <fiber/asio.hpp>" in text else []
        if without_missing(report, f"code in {path}", needs, tools[0]) == needs:
            jobs += jobs_of(path, text)
    for name, problem, seconds in check(jobs, tools):
        report.add(name, problem, seconds)
    report.finish()


if __name__ == "__main__":
    main()
