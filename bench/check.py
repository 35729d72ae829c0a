"""Compares a run with targets.json and says what is missed, first.

A figure is judged twice: as it is, and against the machine of this run. For the latter the limit is multiplied by how
much slower than on the reference machine the raw switch and the peers were in this very run (the median of these factors).
"""
import json
import statistics
from pathlib import Path

from figures import IO_CASES, SCALE
from table import quantity


def machine_factors(run, target):
    """How much slower than on the reference machine each peer with a reference was here; the raw switch if none is."""
    factors = {}
    for system, reference in target["reference"].items():
        figure = run.get(target["case"], target["metric"], target["workers"], system)
        if figure and figure.median:
            factors[system] = figure.median / (reference * SCALE[target["unit"]])
    return factors


def _verdict(value, must, aim):
    return "aim" if value <= aim else "must" if value <= must else "MISSED"


def _figure_line(run, target):
    figure = run.get(target["case"], target["metric"], target["workers"], "fiber")
    name = f"{target['case']} W={target['workers']}" + ("" if target["metric"] == "time" else f" {target['metric']}")
    if not figure:
        return 0.5, "?", f"not measured   {name}"
    scale, unit = SCALE[target["unit"]], target["unit"]
    must, aim = target["must"] * scale, target["aim"] * scale
    verdict = _verdict(figure.median, must, aim)
    excess = figure.median / must if must else (0 if figure.median == 0 else 99)
    factors = machine_factors(run, target)
    text = (f"{verdict:8} {name:28} {quantity(figure.median, unit):>10} (best {quantity(figure.best, unit)}),"
            f" must {quantity(must, unit)}, aim {quantity(aim, unit)}")
    if factors and must:
        factor = statistics.median(factors.values())
        adjusted = _verdict(figure.median, must * factor, aim * factor)
        text += f"; machine x{factor:.2f} by {', '.join(factors)}: {adjusted}"
    return excess, verdict, text


def _ratio_line(run, target):
    # Two workers' CPU time says nothing about how fast they are: across worker counts only wall time compares.
    metric = target.get("metric", "time" if target["workers"] == target["to"]["workers"] else "wall")
    figure = run.get(target["case"], metric, target["workers"], "fiber")
    to = run.get(target["to"]["case"], metric, target["to"]["workers"], target["to"]["system"])
    name = (f"{target['case']} W={target['workers']} / {target['to']['case']} W={target['to']['workers']}"
            + (f" {target['to']['system']}" if target["to"]["system"] != "fiber" else ""))
    if "metric" in target:
        name = f"{target['case']} {metric} / {target['to']['system']}"
    if not figure or not to:
        return 0.5, "?", f"not measured   {name}"
    value, must, aim = figure.median / to.median, target["must"], target["aim"]
    if metric == "rate":  # at least so much, not at most
        verdict, excess = _verdict(1 / value, 1 / must, 1 / aim), must / value
    else:
        verdict, excess = _verdict(value, must, aim), value / must
    return excess, verdict, f"{verdict:8} {name:38} {value:.2f}, must {must}, aim {aim} ({target['why']})"


def text(run):
    """One line per target: missed first (the worst on top), then what was not measured, then the rest."""
    with open(Path(__file__).with_name("targets.json"), encoding="utf-8") as file:
        targets = json.load(file)
    of_this_run = lambda target: (target["case"] in IO_CASES) == run.of_io()
    lines = [_figure_line(run, t) for t in targets["figures"] if of_this_run(t)]
    lines += [_ratio_line(run, t) for t in targets["ratios"] if of_this_run(t)]
    order = {"MISSED": 0, "?": 1, "must": 2, "aim": 3}
    lines.sort(key=lambda line: (order[line[1]], -line[0]))
    count = lambda verdict: sum(line[1] == verdict for line in lines)
    head = (f"Targets: {count('MISSED')} missed, {count('must')} reached, {count('aim')} reached with their aim,"
            f" {count('?')} not measured")
    return "\n".join([head, *(line[2] for line in lines)])
