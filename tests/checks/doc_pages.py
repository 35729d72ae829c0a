#!/usr/bin/env python3
"""The pages hang together.

Every page of docs/api/ is in its index, and has a program whose output it shows. Every public header, and every public
name of namespace fiber, is in the index. Every link from one page to another leads to a file that exists, and to a heading that exists in it.

Usage: doc_pages.py [--self-test]
"""

import glob
import os
import re
import sys
import tempfile

from report import ROOT, Report

INDEX = "docs/api/README.md"
PROGRAM = re.compile(r"^```cpp\n(?:(?!```).*\n)*?.*\bint main\(.*\n(?:(?!```).*\n)*```\n\n?```text\n", re.MULTILINE)
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TYPE = r"(?:class|struct|enum class|enum)(?: \[\[\w+\]\])? (\w+)(?= *(?:\{|:[^;\n]*$))"
FUNCTION = r"(?!return |using |template |requires|static_assert)(?=[a-z\[])[\w:<>&*,\[\] ]+[ &*](\w+)\("
NAME = re.compile(f"^(?:{TYPE}|using (\\w+) =|{FUNCTION})", re.MULTILINE)
DETAIL = re.compile(r"^namespace (detail|boost::asio) \{.*?^\}  // namespace \1$|^namespace detail \{.*?^\}$",
                    re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def anchors(text):
    """The names that a page's headings have in links, as GitHub makes them."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    names = set()
    for heading in HEADING.findall(plain):
        name = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", name).replace(" ", "-")
        names.add(name)
    return names


def public_names(text):
    """What a header declares in namespace fiber itself, as far as it stands at the beginning of a line."""
    if not re.search(r"^namespace fiber \{$", text, re.MULTILINE):
        return set()
    return {name for found in NAME.findall(DETAIL.sub("", text)) for name in found if name}


def broken_links(root, path):
    problems = []
    for target in LINK.findall(CODE.sub("", read(root, path))):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = os.path.normpath(os.path.join(os.path.dirname(path), place)) if place else path
        if not os.path.exists(os.path.join(root, file)):
            problems.append(f"{target}: there is no {file}")
        elif anchor and (not file.endswith(".md") or anchor not in anchors(read(root, file))):
            problems.append(f"{target}: there is no such heading in {file}")
    return problems


def check(report, root):
    pages = sorted(glob.glob("docs/api/*.md", root_dir=root))
    headers = sorted(os.path.basename(path) for path in glob.glob("fiber/*.hpp", root_dir=root))
    index = read(root, INDEX)
    report.add("pages: every header is in the index",
               [f"{INDEX} does not name `<fiber/{header}>`: add it to the row of the page that describes it"
                for header in headers if f"`<fiber/{header}>`" not in index])
    listed = set(re.findall(r"`(\w+)`", index.partition("## By name")[2]))
    for header in headers:
        missing = public_names(read(root, "fiber/" + header)) - listed
        report.add(f"pages: the names of {header} are in the index",
                   [f"{INDEX} does not name `{name}` under \"By name\"" for name in sorted(missing)])
    linked = {target.partition("#")[0] for target in LINK.findall(index)}
    for page in pages:
        if page == INDEX:
            continue
        name = os.path.basename(page)
        problems = [] if name in linked else [f"{INDEX} does not link it"]
        if not PROGRAM.search(read(root, page)):
            problems.append("has no whole program with its output in a ```text block behind it")
        report.add(f"pages: {name} is in the index and has a program", problems)
    for page in ["README.md"] + sorted(glob.glob("docs/*.md", root_dir=root)) + pages:
        report.add(f"pages: links of {page}", broken_links(root, page))


class Findings:
    """In the place of a Report: keeps what was found."""

    def __init__(self):
        self.problems = []

    def add(self, _, problems):
        self.problems += problems


def self_test(report):
    """A small tree with a known defect at a time."""
    program = "# A\n\n```cpp\n#include <x>\nint main() {}\n```\n\n```text\n```\n"
    tree = {"README.md": "[index](docs/api/README.md)\n", INDEX: "[a](a.md#a) `<fiber/a.hpp>`\n## By name\n`known`\n",
            "docs/api/a.md": program, "fiber/a.hpp": "namespace fiber {\nclass known {\n};\n}\n"}
    cases = {
        "nothing": ({}, ""),
        "a header that is not in the index": ({"fiber/b.hpp": ""}, "does not name `<fiber/b.hpp>`"),
        "a name that is not in the index": ({"fiber/a.hpp": "namespace fiber {\nauto other(int x);\n}\n"}, "`other`"),
        "a page that is not in the index": ({"docs/api/b.md": program}, "does not link it"),
        "a page without a program": ({"docs/api/a.md": "# A\n\n```cpp\nint main() {}\n```\n"}, "no whole program"),
        "a link to no file": ({"README.md": "[x](docs/x.md)\n"}, "there is no docs/x.md"),
        "a link to no heading": ({"README.md": "[x](docs/api/a.md#b)\n"}, "no such heading"),
    }
    for name, (change, expected) in cases.items():
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**tree, **change}.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)) or root, exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            found = Findings()
            check(found, root)
        right = len(found.problems) == 1 and expected in found.problems[0] if expected else not found.problems
        report.add("pages, self-test: " + name, "" if right else f"expected {expected!r}, found {found.problems}")


def main():
    report = Report()
    if "--self-test" in sys.argv:
        self_test(report)
    else:
        check(report, ROOT)
    report.finish()


if __name__ == "__main__":
    main()
