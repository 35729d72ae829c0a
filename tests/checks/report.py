"""What all checks share: a list of named cases, printed when they fail, and counted by tests/run.

With FIBER_TEST_RESULTS=file each case appends the line "pass|fail|skip <seconds> <name>" (tab-separated) to that file, as
the test executables do.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Report:
    def __init__(self):
        self.failed = 0
        self.passed = 0
        self.skipped = 0

    def add(self, name, problems, seconds=0.0):
        """One case. `problems` is a list of messages, or one message; empty means it passed."""
        problems = [problems] if isinstance(problems, str) and problems else list(problems)
        if problems:
            self.failed += 1
            print(f"FAIL: {name}")
            for problem in problems:
                print("  " + problem.rstrip().replace("\n", "\n  "))
        else:
            self.passed += 1
        self.write("fail" if problems else "pass", seconds, name)

    def skip(self, name, reason):
        """One case that cannot be tried on this machine. Neither passed nor failed; tests/run shows it at its end."""
        self.skipped += 1
        print(f"SKIPPED: {name}: {reason}")
        self.write("skip", 0.0, f"{name}: {reason}")

    @staticmethod
    def write(verdict, seconds, name):
        path = os.environ.get("FIBER_TEST_RESULTS")
        if path:
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{verdict}\t{seconds:.3f}\t{name}\n")

    def finish(self):
        """Prints the sum and ends the program. No case at all is a failure."""
        print(f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} SKIPPED" if self.skipped else ""))
        sys.exit(1 if self.failed or not self.passed + self.skipped else 0)


def run(command, **options):
    """Runs a command; returns (what it printed if it failed, else "", what it printed, seconds)."""
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          stdin=None if "input" in options else subprocess.DEVNULL, check=False, **options)
    seconds = time.monotonic() - start
    problem = ""
    if done.returncode != 0:
        lines = done.stdout.splitlines()
        problem = " ".join(command) + f"\nexit status {done.returncode}\n" + "\n".join(lines[:60])
    return problem, done.stdout, seconds


# Headers for users of another library, which not everybody has.
NEED_BOOST_ASIO = {"fiber/asio.hpp", "fiber/detail/asio_inside.hpp", "fiber/detail/asio_operation.hpp"}


def without_missing(report, title, paths, compiler):
    """The paths, as from the root, without the headers that need a library which is not installed: these are skipped."""
    needing = NEED_BOOST_ASIO.intersection(paths)
    text = "#include <utility>\n#include <boost/asio/io_context.hpp>\n"
    if not needing or not run([compiler, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"], input=text)[0]:
        return paths
    for path in sorted(needing):
        report.skip(f"{title}: {path}", "Boost.Asio is not installed (Debian: apt-get install libboost-dev)")
    return [path for path in paths if path not in needing]


def in_parallel(function, items):
    """[function(item) for item in items], as many at once as there are processors, in order."""
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(function, items))


def tracked_files(root, *directories):
    """The files below `directories`, or these themselves, as git knows them, or, without git, as they lie there."""
    if os.path.exists(os.path.join(root, ".git")) and shutil.which("git"):
        git = subprocess.run(["git", "-C", root, "ls-files", "--", *directories], capture_output=True, text=True,
                             check=False)
        if git.returncode == 0 and git.stdout:
            return sorted(path for path in git.stdout.splitlines() if os.path.exists(os.path.join(root, path)))
    found = []
    for directory in directories:
        if os.path.isfile(os.path.join(root, directory)):
            found.append(directory)
        for place, _, names in os.walk(os.path.join(root, directory)):
            found += [os.path.relpath(os.path.join(place, name), root) for name in names]
    return sorted(found)


def install(build, destination):
    """Installs what stands in the build directory below `destination`; returns (problem, the prefix there)."""
    problem, _, _ = run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", destination])
    if problem:
        return problem, destination
    options = json.loads(run(["meson", "introspect", "--buildoptions", build])[1])
    prefix = next(option["value"] for option in options if option["name"] == "prefix")
    return "", destination + prefix
