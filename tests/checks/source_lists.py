#!/usr/bin/env python3
"""Every source file is named in the meson.build that is responsible for it, and every name there is a file.

A file that git does not know yet is nobody's business. Usage: source_lists.py
"""

import os
import re

from report import ROOT, Report, tracked_files

# directory: which of its files must be named. Headers that public ones need are seen to by headers.py.
RESPONSIBLE = {
    "scheduler": lambda path: path.endswith(".cpp"),
    "fiber": lambda path: path.endswith(".cpp") or path.endswith(".hpp") and path.count("/") == 1,
    "tests": lambda path: path.endswith(".cpp") and not path.startswith("tests/checks/"),
    "docs": lambda path: path.endswith(".cpp"),
}


def main():
    report = Report()
    for directory, counts in RESPONSIBLE.items():
        build = os.path.join(directory, "meson.build")
        with open(os.path.join(ROOT, build), encoding="utf-8") as file:
            text = re.sub(r"#.*", "", file.read())
        named = {os.path.normpath(os.path.join(directory, name)) for name in re.findall(r"'([^']*\.[ch]pp)'", text)}
        files = set(tracked_files(ROOT, directory))
        elsewhere = {path for path in named if not path.startswith(directory + os.sep)}
        files |= set(tracked_files(ROOT, *elsewhere)) if elsewhere else set()
        problems = [f"{path} is not named in {build}" for path in sorted(files - named) if counts(path)]
        problems += [f"{build} names {path}, which does not exist or was not committed" for path in sorted(named - files)]
        report.add(f"source lists: {directory}", problems)
    report.finish()


if __name__ == "__main__":
    main()
