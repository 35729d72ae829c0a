"""The figures of a run as an SVG chart: one row per case, one bar per system, on a logarithmic scale.

Colours follow the reader's light or dark scheme where the viewer knows it, and stay readable where it does not.
"""
from html import escape
from math import log

from figures import LIMITS, METRICS
from table import NAMES, quantity, ratio, ratio_text

COLOURS = {  # light, dark
    "fiber": ("#0a7d55", "#3ddc97"),
    "thread": ("#9a5b00", "#f0a63a"),
    "boost_fiber": ("#6f42c1", "#b58cf2"),
    "tbb": ("#0b62c4", "#62a8ff"),
    "go": ("#0f7c8a", "#4fd1e0"),
    "asio": ("#0b62c4", "#62a8ff"),
    "asyncio": ("#b0305c", "#f27ea5"),
    "raw": ("#6b7280", "#9aa3b2"),
    "epoll": ("#6b7280", "#9aa3b2"),
}
SKIPPED = {("post_wake_free", "time"), ("idle", "cpu_us"), ("idle", "wakeups"), ("sleep_10k", "wall_ms")}
PANELS = [("Time", {"ns", "us", "ms"}), ("Memory", {"B"})]

WIDTH, LEFT, RIGHT = 900, 290, 150
BAR, GAP, TOP = 12, 9, 84


def style():
    """The style sheet of every chart here: a class per system."""
    rules = lambda i: "".join(f".{s}{{fill:{c[i]}}}" for s, c in COLOURS.items())
    return ("<style>"
            "text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}"
            ".soft{fill:#59636e}.title{font-size:15px;font-weight:600}.ratio{font-weight:600}.value{font-size:10px}"
            ".line{stroke:#d9dee3;stroke-width:1}.paper{fill:#ffffff}" + rules(0) +
            "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9aa4ae}.line{stroke:#333b44}"
            ".paper{fill:#0d1117}" + rules(1) + "}</style>")


def _panel_rows(run, units, workers, systems):
    """[(label, unit, [(system, figure)])] of the cases where fibers have somebody to be compared with."""
    result = []
    for case, metric, unit, label in METRICS:
        if unit not in units or (case, metric) in SKIPPED:
            continue
        bars = [(s, run.get(case, metric, workers, s)) for s in systems]
        bars = [(s, f) for s, f in bars if f and f.median > 0]
        if len(bars) > 1 and bars[0][0] == "fiber":
            result.append((label, unit, bars))
    return sorted(result, key=lambda row: not _lost(row[2]))  # losses first


def _lost(bars):
    rivals = [f.median for s, f in bars if s != "fiber" and s not in LIMITS]
    return bool(rivals) and min(rivals) < dict(bars)["fiber"].median


def _ticks(title, rows):
    """Powers of ten ns, or of two KiB, around all values; the first one is below the smallest, so that every bar shows."""
    first, step, unit = (1, 10, "ns") if title == "Time" else (1024, 2, "B")
    values = [f.median for _, _, bars in rows for _, f in bars]
    ticks = [first]
    while ticks[-1] < max(values):
        ticks.append(ticks[-1] * step)
    while len(ticks) > 2 and ticks[1] * 1.5 <= min(values):
        ticks.pop(0)
    return [(t, quantity(t, unit).replace(".00", "").replace(".0", "")) for t in ticks]


def _scale(ticks):
    """From a figure to its place on the axis."""
    low, high = log(ticks[0][0]), log(ticks[-1][0])
    return lambda value: LEFT + (WIDTH - LEFT - RIGHT) * max(0.0, (log(value) - low) / (high - low))


def _row(out, y, place, label, unit, bars):
    middle = y + len(bars) * BAR / 2 + 3
    out.append(f'<text x="{LEFT - 12}" y="{middle:.1f}" text-anchor="end">{escape(label)}</text>')
    figures = dict(bars)
    if "thread" in figures:
        text = ratio_text(ratio(figures["fiber"], figures["thread"]))
        out.append(f'<text x="{WIDTH - 24}" y="{middle:.1f}" text-anchor="end" class="ratio">{text}</text>')
    for system, figure in bars:
        end = place(figure.median)
        out.append(f'<rect x="{LEFT}" y="{y}" width="{max(end - LEFT, 1):.1f}" height="{BAR - 2}" rx="1" class="{system}"/>')
        out.append(f'<text x="{end + 5:.1f}" y="{y + 8.5}" class="soft value">{quantity(figure.median, unit)}</text>')
        y += BAR


def _panel(out, y, title, rows):
    ticks = _ticks(title, rows)
    place = _scale(ticks)
    height = sum(len(bars) * BAR + GAP for _, _, bars in rows)
    out.append(f'<text x="24" y="{y}" class="soft">{title} (logarithmic)</text>')
    out.append(f'<text x="{WIDTH - 24}" y="{y}" text-anchor="end" class="soft value">threads / fibers</text>')
    for value, text in ticks:
        out.append(f'<line x1="{place(value):.1f}" x2="{place(value):.1f}" y1="{y + 6}" y2="{y + 8 + height}" class="line"/>')
        out.append(f'<text x="{place(value):.1f}" y="{y}" text-anchor="middle" class="soft value">{text}</text>')
    y += 14
    for label, unit, bars in rows:
        _row(out, y, place, label, unit, bars)
        y += len(bars) * BAR + GAP
    return y + 28


def svg(run, workers):
    """The chart of one worker count; "" if there is nothing to draw."""
    systems = [s for s in run.systems() if s != "fiber"]
    systems.insert(0, "fiber")
    out, y = [], TOP
    for title, units in PANELS:
        rows = _panel_rows(run, units, workers, systems)
        if rows:
            y = _panel(out, y, title, rows)
    if not out:
        return ""
    others = "other libraries and languages" if len(systems) > 3 else "threads"
    where = "1 worker, one CPU" if workers == 1 else f"{workers} workers, {workers} CPUs"
    what = "CPU time, shorter is better" if run.cpu_time and workers == 1 else "shorter is better"
    head = [f'<text x="24" y="30" class="title">fibers against {others} ({where}); {what}</text>']
    x = 24
    for system in systems:
        head.append(f'<rect x="{x}" y="44" width="10" height="10" rx="2" class="{system}"/>')
        head.append(f'<text x="{x + 15}" y="53">{NAMES[system]}</text>')
        x += 32 + 7 * len(NAMES[system])
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img">'
            f'<title>Benchmarks: fibers against {others}</title>{style()}'
            f'<rect width="{WIDTH}" height="{y}" rx="8" class="paper"/>' + "\n".join(head + out) + "</svg>\n")
