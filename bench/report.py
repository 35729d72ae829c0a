#!/usr/bin/env python3
"""Turns the result files of bench/run into the table, the chart, one JSON file and the check against the targets."""
import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import chart
import check
import figures
import io_chart
import table


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", help="Google Benchmark's JSON files of one run")
    parser.add_argument("--failures", type=Path, help="lines: case/system/workers:N reason")
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with targets.json, too")
    parser.add_argument("--cpu", action="store_true", help="CPU instead of wall time for one worker's figures")
    arguments = parser.parse_args()

    run = figures.load(arguments.results, arguments.cpu)
    if arguments.failures and arguments.failures.exists():
        figures.add_failures(run, arguments.failures.read_text().splitlines())
    if not run.figures:
        sys.exit("nothing was measured")
    print(table.text(run), table.notes(run), sep="\n\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures.as_json(run), indent=1) + "\n")
    if arguments.svg:
        drawing = io_chart.svg(run) if run.of_io() else chart.svg(run, run.worker_counts()[0])
        if drawing:
            arguments.svg.write_text(drawing)
            print(f"Chart: {arguments.svg}")
    if arguments.check:
        print("\n" + check.text(run))


if __name__ == "__main__":
    main()
