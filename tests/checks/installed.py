#!/usr/bin/env python3
"""A program outside the tree uses the library: installed, through pkg-config, shared and static; as a Meson subproject;
with CMake.

Usage: installed.py <build directory, built, with default_library=both>
"""

import glob
import os
import shlex
import shutil
import sys
import tempfile

from report import ROOT, Report, install, run

CONSUMER = os.path.join(ROOT, "tests/checks/consumer")


def first_problem(*commands, **options):
    """Runs commands one after the other up to the first that fails; returns (its output or "", seconds)."""
    total = 0.0
    for command in commands:
        problem, _, seconds = run(command, **options)
        total += seconds
        if problem:
            return problem, total
    return "", total


def pollution(prefix):
    """What was installed elsewhere than where it belongs."""
    allowed = ("include/fiber-0/fiber/", "include/fiber-0/scheduler/", "lib/", "lib64/")
    files = [os.path.relpath(path, prefix) for path in glob.glob(prefix + "/**", recursive=True) if os.path.isfile(path)]
    return [f"{path} does not belong there" for path in files if not path.startswith(allowed)] or \
        ([] if any(path.endswith("fiber/fiber.hpp") for path in files) else ["fiber/fiber.hpp was not installed"])


def pkg_config(environment, *arguments):
    problem, flags, _ = run(["pkg-config", *arguments, "fiber"], env=environment)
    return problem, shlex.split(flags)


def use_pkg_config(environment, place, static):
    """Compiles, links and runs the consumer with the flags of pkg-config."""
    kind = ["--static"] if static else []
    problem, flags = pkg_config(environment, *kind, "--cflags", "--libs")
    if problem:
        return problem, 0.0
    program = os.path.join(place, "static" if static else "shared")
    return first_problem(["g++", "-std=c++20", os.path.join(CONSUMER, "main.cpp"), "-o", program, *flags,
                          *(["-static"] if static else [])], [program], env=environment)


def use_subproject(place):
    source, build = os.path.join(place, "meson"), os.path.join(place, "meson-build")
    shutil.copytree(CONSUMER, source)
    os.mkdir(os.path.join(source, "subprojects"))
    os.symlink(ROOT, os.path.join(source, "subprojects/fiber"))
    problem, seconds = first_problem(["meson", "setup", build, source, "--force-fallback-for=fiber"],
                                     ["meson", "compile", "-C", build, "consumer"], [os.path.join(build, "consumer")])
    tests = [] if problem else glob.glob(build + "/subprojects/fiber/tests/**/test_*", recursive=True)
    return problem or (f"a subproject must not build its tests: {tests}" if tests else ""), seconds


def use_cmake(environment, place):
    build = os.path.join(place, "cmake-build")
    return first_problem(["cmake", "-S", CONSUMER, "-B", build], ["cmake", "--build", build],
                         [os.path.join(build, "consumer")], env=environment)


def main():
    build = os.path.abspath(sys.argv[1])
    report = Report()
    with tempfile.TemporaryDirectory() as place:
        root = os.path.join(place, "root")
        problem, prefix = install(build, root)
        report.add("installed: nothing outside its own directories", problem or pollution(prefix))
        files = glob.glob(prefix + "/**/fiber.pc", recursive=True)
        libraries = os.path.dirname(os.path.dirname(files[0])) if files else prefix
        # The library's flags name the final place; pkg-config puts the temporary root before each of its paths.
        environment = {**os.environ, "PKG_CONFIG_PATH": os.path.join(libraries, "pkgconfig"),
                       "PKG_CONFIG_SYSROOT_DIR": root, "LD_LIBRARY_PATH": libraries}
        report.add("installed: used through pkg-config, shared", *use_pkg_config(environment, place, static=False))
        report.add("installed: used through pkg-config, static", *use_pkg_config(environment, place, static=True))
        report.add("installed: used as a Meson subproject", *use_subproject(place))
        if shutil.which("cmake"):
            report.add("installed: used with CMake", *use_cmake(environment, place))
        else:
            print("not tried, there is no cmake: installed: used with CMake")
    report.finish()


if __name__ == "__main__":
    main()
