#!/usr/bin/env python3
"""Fails on an include that runs up, sideways or in a circle.

Floors, from low to high; a file includes its own directory and the floors below it:
    scheduler/base
    scheduler/{context,queue,time,park,io}      these five never include each other
    scheduler/core
    fiber
    bench, tests, docs                          nobody includes them but themselves
x.hpp and x.cpp count as one room; the rooms form no circle. Boost.Context is included by scheduler/context/context.cpp
alone, other Boost headers by fiber/asio.hpp and fiber/detail/asio_*.hpp alone (benchmarks, tests and examples may
include what they like).

Usage: include_direction.py [root]      check a tree (default: this one)
       include_direction.py --self-test feed it bad trees, and see that each is found
"""

import os
import re
import sys
import tempfile

from report import ROOT, Report, tracked_files

PIECES = {"context", "queue", "time", "park", "io"}
TOP = {"bench", "tests", "docs"}
SOURCES = (".hpp", ".cpp", ".h", ".c", ".ipp", ".inc")
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<([^>]*)>|"([^"]*)")')


def floor(path):
    """(height, name) of the floor a path belongs to; None if it is no place for code."""
    parts = path.split("/")
    if parts[0] in TOP:
        return 4, parts[0]
    if parts[0] == "fiber":
        return 3, "fiber"
    if parts[0] == "scheduler" and len(parts) > 2:
        name = "scheduler/" + parts[1]
        if parts[1] == "core":
            return 2, name
        if parts[1] in PIECES:
            return 1, name
        if parts[1] == "base":
            return 0, name
    return None


def read_includes(root):
    """{path: [(line number, what is included, True if in quotes)]} of all sources that git knows below `root`."""
    sources = {}
    for path in tracked_files(root, "scheduler", "fiber", *sorted(TOP)):
        if path.endswith(SOURCES):
            with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
                found = [(number, INCLUDE.match(line)) for number, line in enumerate(file, 1)]
            sources[path] = [(number, hit[1] or hit[2], hit[2] is not None) for number, hit in found if hit]
    return sources


def boost_problem(path, target):
    if path.split("/")[0] in TOP:
        return None
    if target.startswith("boost/context/"):
        allowed = r"scheduler/context/context\.cpp"
    else:
        allowed = r"fiber/(detail/)?asio(_\w+)?\.hpp"
    return None if re.fullmatch(allowed, path) else f"only {allowed} may include <{target}>"


def direction_problem(path, target):
    here, there = floor(path), floor(target)
    if there is None:
        return f"includes {target}, which is on no floor"
    if here == there or here[0] > there[0]:
        return None
    if here[0] == there[0]:
        return f"runs sideways: {here[1]} must not include {target}"
    return f"runs up: {here[1]} must not include {target}"


def circles(edges):
    """The groups of rooms that reach each other (strongly connected components of more than one room)."""
    index, low, stack, found = {}, {}, [], []

    def visit(room):
        index[room] = low[room] = len(index)
        stack.append(room)
        for target in sorted(edges.get(room, ())):
            if target not in index:
                visit(target)
            if target in stack:
                low[room] = min(low[room], low[target])
        if low[room] == index[room]:
            group = stack[stack.index(room):]
            del stack[stack.index(room):]
            if len(group) > 1:
                found.append(sorted(group))

    for room in sorted(edges):
        if room not in index:
            visit(room)
    return found


def problems_of(root):
    """{rule: [problems]} of a tree."""
    sources = read_includes(root)
    found = {"places": [], "paths": [], "direction": [], "boost": [], "circles": []}
    edges, evidence = {}, []
    for path, includes in sources.items():
        if floor(path) is None:
            found["places"].append(f"{path}: code lives in no such place")
            continue
        for number, target, quoted in includes:
            where = f"{path}:{number}: "
            if target.startswith("boost/"):
                problem = boost_problem(path, target)
                found["boost"] += [where + problem] if problem else []
            elif target.split("/")[0] in {"scheduler", "fiber"} | TOP:
                if target not in sources:
                    if path.split("/")[0] not in TOP:  # the compiler tells; a benchmark may ask for what is not there yet
                        found["paths"].append(where + f"{target} does not exist, or git does not know it")
                    continue
                problem = direction_problem(path, target)
                found["direction"] += [where + problem] if problem else []
                here, there = os.path.splitext(path)[0], os.path.splitext(target)[0]
                if here != there:
                    edges.setdefault(here, set()).add(there)
                    evidence.append((here, there, f"\n    {path}:{number} includes {target}"))
            elif quoted:
                found["paths"].append(where + f'"{target}": includes are written from the root of the project')
    for group in circles(edges):
        found["circles"].append("rooms that include each other: " + ", ".join(group) + "".join(
            line for here, there, line in evidence if here in group and there in group))
    return found, len(sources)


RULES = {
    "places": "code lives on a floor",
    "paths": "includes are written from the root and exist",
    "direction": "includes run downwards only",
    "boost": "Boost stays in its room",
    "circles": "no circle of rooms",
}

# name, {path: includes}, the rule that must complain (None: nobody may)
GOOD_TREE = {
    "scheduler/base/a.hpp": ["<atomic>"],
    "scheduler/queue/b.hpp": ['"scheduler/base/a.hpp"'],
    "scheduler/queue/b.cpp": ['"scheduler/queue/b.hpp"'],
    "scheduler/context/context.cpp": ["<boost/context/detail/fcontext.hpp>", '"scheduler/base/a.hpp"'],
    "scheduler/core/c.hpp": ['"scheduler/queue/b.hpp"', '"scheduler/base/a.hpp"'],
    "fiber/d.hpp": ["<cstddef>", '"scheduler/core/c.hpp"'],
    "fiber/asio.hpp": ["<fiber/d.hpp>", "<boost/asio/async_result.hpp>"],
    "tests/t.cpp": ["<fiber/d.hpp>", '"scheduler/queue/b.hpp"', "<boost/fiber/all.hpp>"],
}
BAD_TREES = [
    ("a sound tree", {}, None),
    ("base includes a piece", {"scheduler/base/x.hpp": ['"scheduler/queue/b.hpp"']}, "direction"),
    ("a piece includes a piece", {"scheduler/time/x.cpp": ['"scheduler/queue/b.hpp"']}, "direction"),
    ("a piece includes the core", {"scheduler/io/x.cpp": ['"scheduler/core/c.hpp"']}, "direction"),
    ("a piece includes the public floor, in angle brackets", {"scheduler/park/x.hpp": ["<fiber/d.hpp>"]}, "direction"),
    ("the core includes the public floor", {"scheduler/core/x.cpp": ['  #  include "fiber/d.hpp"']}, "direction"),
    ("the library includes a test", {"fiber/x.cpp": ['"tests/t.cpp"']}, "direction"),
    ("a test includes a benchmark", {"bench/x.hpp": [], "tests/x.cpp": ['"bench/x.hpp"']}, "direction"),
    ("Boost.Context outside its room", {"fiber/x.cpp": ["<boost/context/fiber.hpp>"]}, "boost"),
    ("Boost.Context in the Asio header", {"fiber/asio.hpp": ["<boost/context/fiber.hpp>"]}, "boost"),
    ("Boost in the core", {"scheduler/core/x.cpp": ["<boost/assert.hpp>"]}, "boost"),
    ("two headers in a circle", {"fiber/x.hpp": ['"fiber/y.hpp"'], "fiber/y.hpp": ['"fiber/x.hpp"']}, "circles"),
    ("a circle through a .cpp",
     {"fiber/x.hpp": [], "fiber/x.cpp": ['"fiber/x.hpp"', '"fiber/y.hpp"'], "fiber/y.hpp": ['"fiber/x.hpp"']},
     "circles"),
    ("a circle of three rooms",
     {"fiber/x.hpp": ['"fiber/y.hpp"'], "fiber/y.hpp": ['"fiber/z.hpp"'], "fiber/z.cpp": ['"fiber/x.hpp"'],
      "fiber/z.hpp": []}, "circles"),
    ("a path that is not written from the root", {"fiber/x.cpp": ['"d.hpp"']}, "paths"),
    ("a file that does not exist", {"fiber/x.cpp": ['"fiber/none.hpp"']}, "paths"),
    ("a directory that is no floor", {"scheduler/misc/x.hpp": []}, "places"),
]


def self_test(report):
    for name, files, rule in BAD_TREES:
        with tempfile.TemporaryDirectory() as root:
            for path, includes in {**GOOD_TREE, **files}.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.writelines((line if "#" in line else "#include " + line) + "\n" for line in includes)
            complained = sorted(found for found, problems in problems_of(root)[0].items() if problems)
        expected = [rule] if rule else []
        report.add(f"include direction, self-test: {name}",
                   [] if complained == expected else f"expected complaints by {expected}, got {complained}")


def main():
    report = Report()
    if sys.argv[1:] == ["--self-test"]:
        self_test(report)
    else:
        problems, number = problems_of(sys.argv[1] if len(sys.argv) > 1 else ROOT)
        for rule, title in RULES.items():
            report.add("include direction: " + title, problems[rule] if number else "there are no sources")
    report.finish()


if __name__ == "__main__":
    main()
