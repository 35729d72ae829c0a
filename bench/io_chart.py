"""The figures of the I/O benchmarks as an SVG chart: a block per case, a row per system, three panels side by side.

Linear scales from nothing, one per panel and block, so that bars may be compared by their length.
"""
from html import escape

from chart import style
from figures import IO_CASES, IO_METRICS, LARGER_IS_BETTER
from table import NAMES, quantity

PANELS = [("rate", "Requests per second, longer is better"), ("p99_us", "Latency p99, shorter is better"),
          ("cpu_ns", "Server's CPU per request, shorter is better")]
UNITS = {metric: unit for metric, unit, _ in IO_METRICS}
ORDER = ["fiber", "epoll", "asio", "go", "asyncio", "thread"]

LEFT, PANEL, BARS = 110, 270, 170  # pixels: before the panels, per panel, and the longest bar in it
WIDTH = LEFT + PANEL * len(PANELS) + 10
BAR, GAP, TOP = 16, 46, 66


def _bars(out, x, y, metric, figures):
    """One panel of one block: {system: figure}, in the order of the rows."""
    unit = UNITS[metric]
    longest = max(figure.median for figure in figures.values())
    rivals = [f.median for s, f in figures.items() if s not in ("fiber", "epoll")]
    best = (max if unit in LARGER_IS_BETTER else min)(rivals, default=None)
    for system, figure in figures.items():
        length = max(BARS * figure.median / longest, 1)
        kind = "value ratio" if system == "fiber" or figure.median == best else "value soft"
        out.append(f'<rect x="{x}" y="{y}" width="{length:.1f}" height="{BAR - 4}" rx="1" class="{system}"/>')
        out.append(f'<text x="{x + length + 5:.1f}" y="{y + 9.5}" class="{kind}">{quantity(figure.median, unit)}</text>')
        y += BAR


def _block(out, y, label, systems, found):
    out.append(f'<text x="24" y="{y}" class="ratio">{escape(label)}</text>')
    for i, system in enumerate(systems):
        out.append(f'<text x="{LEFT - 10}" y="{y + 20 + i * BAR}" text-anchor="end">{NAMES[system]}</text>')
    for i, (metric, _) in enumerate(PANELS):
        _bars(out, LEFT + i * PANEL, y + 10, metric, {system: found[system, metric] for system in systems})
    return y + len(systems) * BAR + GAP


def svg(run):
    """The chart; "" if there is nothing to draw."""
    out, y = [], TOP + 34
    for case, label in IO_CASES.items():
        found = {(s, m): run.get(case, m, 1, s) for s in ORDER for m, _ in PANELS}
        systems = [s for s in ORDER if all(found[s, m] for m, _ in PANELS)]
        if systems:
            y = _block(out, y, label, systems, found)
    if not out:
        return ""
    head = ['<text x="24" y="30" class="title">Servers over loopback: fibers against others (one worker, one CPU)</text>']
    head += [f'<text x="{LEFT + i * PANEL}" y="{TOP}" class="soft">{text}</text>' for i, (_, text) in enumerate(PANELS)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - GAP + 24}" width="{WIDTH}"'
            f' height="{y - GAP + 24}" role="img"><title>I/O benchmarks: fibers against others</title>'
            f'{style()}<rect width="{WIDTH}" height="{y - GAP + 24}" rx="8" class="paper"/>'
            + "\n".join(head + out) + "</svg>\n")
