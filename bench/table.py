"""The table of a run, as text: losses first."""
from figures import IO_CASES, LARGER_IS_BETTER, LIMITS, METRICS

NAMES = {"fiber": "fibers", "thread": "threads", "boost_fiber": "Boost.Fiber", "tbb": "oneTBB", "go": "Go",
         "asio": "Boost.Asio", "asyncio": "asyncio", "raw": "raw jump", "epoll": "raw epoll"}


def _three_digits(value):
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def quantity(value, unit):
    """A figure in the unit that suits it: 1234 ns -> 1.23 µs."""
    if unit in ("1", "/s"):
        return f"{value:,.0f}{unit.strip('1')}"
    if value == 0:
        return "0"
    times = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")]
    steps = [(1024**2, "MiB"), (1024, "KiB"), (1, "B")] if unit == "B" else times
    size, name = next(((s, n) for s, n in steps if value >= s), steps[-1])
    return f"{_three_digits(value / size)} {name}"


def _cell(figure, unit):
    if figure is None:
        return "-"
    spread = f" ±{figure.spread * 100:.0f}%"
    return quantity(figure.median, unit) + (spread if figure.median else "")


def ratio(ours, theirs, unit=""):
    """How many times better our figure is: smaller, a rate larger; None if both are nothing."""
    if ours.median == 0 and theirs.median == 0:
        return None
    if unit in LARGER_IS_BETTER:
        ours, theirs = theirs, ours
    return theirs.median / ours.median if ours.median else float("inf")


def ratio_text(value):
    if value is None:
        return "equal"
    if value == float("inf"):
        return "none of it"
    return f"{value:,.0f} ×" if value >= 99.5 else f"{value:.3g} ×" if value >= 1 else f"{value:.2g} ×"


def rows(run):
    """[(ratio to the best rival or None, workers, label, unit, {system: figure}, that rival)] of losses and of the rest."""
    result = []
    for case, metric, unit, label in METRICS:
        for workers in run.worker_counts():
            found = {s: run.get(case, metric, workers, s) for s in run.systems()}
            found = {s: f for s, f in found.items() if f}
            if not found:
                continue
            worst, rival = None, ""
            if "fiber" in found:
                ratios = [(ratio(found["fiber"], f, unit), s) for s, f in found.items()
                          if s != "fiber" and s not in LIMITS]
                worst, rival = min(((r, s) for r, s in ratios if r is not None), default=(None, ""))
            result.append((worst, workers, label, unit, found, rival))
    losses = sorted((r for r in result if r[0] is not None and r[0] < 1), key=lambda r: r[0])
    return losses, [r for r in result if r not in losses]


def text(run):
    """The whole table."""
    base = "epoll" if run.of_io() else "thread"  # what the ratio in the middle is against
    systems = [s for s in (base, "fiber") if s in run.systems()]
    peers = [s for s in run.systems() if s not in (base, "fiber", *LIMITS)]
    limits = [s for s in run.systems() if s in LIMITS and s != base]
    head = ["case", "W", *(NAMES[s] for s in systems), "ratio", *(NAMES[s] for s in peers + limits)]
    if peers:
        head += ["against the best rival"]
    losses, others = rows(run)
    lines, breaks = [], []
    for group, title in ((losses, "fibers lose"), (others, "")):
        breaks.append(len(lines))
        for worst, workers, label, unit, found, rival in group:
            line = [label, str(workers), *(_cell(found.get(s), unit) for s in systems)]
            both = "fiber" in found and base in found
            line.append(ratio_text(ratio(found["fiber"], found[base], unit)) if both else "-")
            line += [_cell(found.get(s), unit) for s in peers + limits]
            if peers:
                line.append(f"{ratio_text(worst)} {NAMES[rival]}" if rival else "-")
            lines.append(line)
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    align = lambda line: "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths)))
    rule = "-" * len(align(head))
    out = [align(head), rule]
    out += [align(line) for line in lines[:breaks[1]]]
    if losses:
        out.append(f"{rule[:-30]} losses above, wins below ----"[:len(rule)])
    out += [align(line) for line in lines[breaks[1]:]]
    return "\n".join(out)


def _reading_io(run):
    """How to read the table of the I/O benchmarks, and where the load was slower than the server."""
    out = ["Medians; ± is half of the range of all repetitions. The server has one CPU, the load another one, but where the",
           "case says one CPU. echo: 64 bytes there and back. HTTP: keep-alive, hello. All over loopback.",
           "ratio: how many times better fibers are than the hand-written epoll loop; against the best rival: than the best",
           "of all others. CPU per request: the server's, all of its threads, user and kernel."]
    for case, label in IO_CASES.items():
        busy = {s: (run.get(case, "busy", 1, s), run.get(case, "load_busy", 1, s)) for s in run.systems()}
        idle = {s: 1 - server.median for s, (server, load) in busy.items()
                if server and load and server.median < 0.97 < load.median + 0.03}
        if idle and "one CPU" not in label:
            shares = ", ".join(f"{NAMES[s]} {share:.0%}" for s, share in idle.items())
            out.append(f"{label}: THE LOAD WAS THE LIMIT, the rate says less than CPU per request; the server's CPU was idle: {shares}")
    return out


def _reading(run):
    out = ["Medians; ± is half of the range of all repetitions. W: workers, and CPUs that each system may use.",
           "ratio: how many times longer (larger) threads are; against the best rival: the same for the best of all others.",
           f"The measuring loop itself costs {run.harness:.1f} ns per operation, contained in every figure.",
           "Threads: fib(13); skynet with 1,000 leaves, times 1,000; 2,000 in yield_many and gather; 10,000 parked."]
    if run.cpu_time:
        out.append("W = 1: CPU time of the process instead of wall time, where the case does not sleep.")
    return out


def notes(run):
    """How to read the table, what was not measured, and how each system was configured."""
    out = _reading_io(run) if run.of_io() else _reading(run)
    if run.machine:
        out.append("Machine: {num_cpus} CPUs, {mhz_per_cpu} MHz".format_map(run.machine))
    lost = sum(run.lost_cpu) / len(run.lost_cpu) if run.lost_cpu else 0
    if lost > 0.05:
        advice = "measure again on a quiet machine" if run.of_io() else "look at the spread, or use --cpu"
        out.append(f"OTHER PROGRAMS took {lost:.0%} of the CPU: times are too long, {advice}.")
    out += [f"{NAMES.get(s, s)}: {c}" for s, c in run.configurations.items() if s in run.systems()]
    out += [f"FAILED {name}: {error}" for name, error in run.errors()]
    return "\n".join(out)
