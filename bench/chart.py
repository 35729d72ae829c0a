"""The figures of a run as an SVG chart: one row per case, one bar per system, on a logarithmic scale.

Colours follow the reader's light or dark scheme where the viewer knows it, and stay readable where it does not.
"""
from html import escape
from math import log10

from figures import METRICS
from table import NAMES, quantity

COLOURS = {  # light, dark
    "fiber": ("#0a7d55", "#3ddc97"),
    "thread": ("#9a5b00", "#f0a63a"),
    "boost_fiber": ("#6f42c1", "#b58cf2"),
    "tbb": ("#0b62c4", "#62a8ff"),
    "go": ("#0f7c8a", "#4fd1e0"),
    "asyncio": ("#b0305c", "#f27ea5"),
    "raw": ("#6b7280", "#9aa3b2"),
}
SKIPPED = {("post_wake_free", "time"), ("idle", "cpu_us"), ("idle", "wakeups"), ("sleep_10k", "wall_ms")}
PANELS = [("Time", {"ns", "us", "ms"}), ("Memory", {"B"})]

WIDTH, LEFT, RIGHT = 860, 300, 90
BAR, GAP, TOP = 9, 10, 78


def _style():
    rules = lambda i: "".join(f".{s}{{fill:{c[i]}}}" for s, c in COLOURS.items())
    return ("<style>"
            + "text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}"
            + ".soft{fill:#59636e}.title{font-size:15px;font-weight:600}.line{stroke:#d9dee3;stroke-width:1}.paper{fill:#ffffff}"
            + ".value{font-size:10px}" + rules(0)
            + "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9aa4ae}.line{stroke:#333b44}.paper{fill:#0d1117}"
            + rules(1) + "}</style>")


def _panel_rows(run, units, workers, systems):
    """[(label, unit, [(system, figure)])] of the cases that fibers have."""
    result = []
    for case, metric, unit, label in METRICS:
        if unit not in units or (case, metric) in SKIPPED:
            continue
        bars = [(s, run.get(case, metric, workers, s)) for s in systems]
        bars = [(s, f) for s, f in bars if f and f.median > 0]
        if any(s == "fiber" for s, _ in bars):
            result.append((label, unit, bars))
    return result


def _decades(rows):
    """The powers of ten around all values: from one below the smallest, so that every bar has a length."""
    values = [f.median for _, _, bars in rows for _, f in bars]
    low, high = 0, 1
    while 10**low * 1.5 <= min(values):
        low += 1
    while 10**high < max(values):
        high += 1
    return max(low - 1, 0), high


def _panel(out, y, title, rows):
    low, high = _decades(rows)
    place = lambda v: LEFT + (WIDTH - LEFT - RIGHT) * _position(v, low, high)
    height = sum(len(bars) * BAR + GAP for _, _, bars in rows)
    out.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end" class="soft">{title}, logarithmic</text>')
    for exponent in range(low, high + 1):
        x = place(10**exponent)
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + 10}" y2="{y + 14 + height}" class="line"/>')
        text = quantity(10**exponent, "ns").replace(".00", "").replace(".0", "") if title == "Time" else f"{10**exponent:,} B"
        out.append(f'<text x="{x:.1f}" y="{y + 4}" text-anchor="middle" class="soft value">{text}</text>')
    y += 16
    for label, unit, bars in rows:
        block = len(bars) * BAR
        out.append(f'<text x="{LEFT - 12}" y="{y + block / 2 + 4:.1f}" text-anchor="end">{escape(label)}</text>')
        for system, figure in bars:
            end = place(figure.median)
            out.append(f'<rect x="{LEFT}" y="{y}" width="{max(end - LEFT, 1):.1f}" height="{BAR - 1.5}" rx="1" class="{system}"/>')
            out.append(f'<text x="{end + 5:.1f}" y="{y + 8}" class="soft value">{quantity(figure.median, unit)}</text>')
            y += BAR
        y += GAP
    return y + 26


def _position(value, low, high):
    return max(0.0, (log10(value) - low) / (high - low))


def svg(run, workers):
    """The chart of one worker count; "" if there is nothing to draw."""
    systems = [s for s in ("fiber", "thread", *run.systems()) if s in run.systems()]
    systems = list(dict.fromkeys(systems))
    out, y = [], TOP
    for title, units in PANELS:
        rows = _panel_rows(run, units, workers, systems)
        if rows:
            y = _panel(out, y, title, rows)
    if not out:
        return ""
    plural = "worker, one CPU" if workers == 1 else f"workers, {workers} CPUs"
    head = [f'<text x="24" y="30" class="title">fibers against {"threads" if len(systems) <= 3 else "the others"}'
            f' ({workers} {plural}); shorter is better</text>']
    x = 24
    for system in systems:
        head.append(f'<rect x="{x}" y="44" width="10" height="10" rx="2" class="{system}"/>')
        head.append(f'<text x="{x + 15}" y="53">{NAMES[system]}</text>')
        x += 32 + 7 * len(NAMES[system])
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img">'
            f'<title>Benchmarks of fibers</title>{_style()}'
            f'<rect width="{WIDTH}" height="{y}" rx="8" class="paper"/>' + "\n".join(head + out) + "</svg>\n")
