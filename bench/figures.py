"""What the benchmarks' figures are called, and their medians over all repetitions of a run.

Reads the JSON files of Google Benchmark and of the peers that imitate it; knows nothing of how figures are shown.
"""
import json
import re
import statistics
from dataclasses import dataclass, field

SYSTEMS = ["fiber", "thread", "boost_fiber", "tbb", "go", "asio", "asyncio", "raw", "epoll"]
LIMITS = {"raw", "epoll"}  # what the machine allows: shown, but no rival

# (case, metric, unit, what it is). "time" is Google Benchmark's real time; any other metric is a counter.
METRICS = [
    ("spawn_one", "time", "ns", "create + join, one at a time"),
    ("spawn_join", "time", "ns", "create 1,000, join in order"),
    ("yield", "time", "ns", "context switch: yield, 2 fibers"),
    ("yield_fp", "time", "ns", "same, one of them uses floating point"),
    ("yield_many", "time", "ns", "context switch: yield, 10,000 fibers"),
    ("pingpong", "time", "ns", "ping-pong through channels, round trip"),
    ("pingpong_future", "time", "ns", "ping-pong through futures, round trip"),
    ("channel_mpmc", "time", "ns", "channel of 128, 4 + 4 fibers, per item"),
    ("mutex", "time", "ns", "mutex, 8 fibers, per lock + unlock"),
    ("mutex_handover", "time", "ns", "mutex, handed over at each unlock"),
    ("timer_cancel", "time", "ns", "wait with time-out, satisfied"),
    ("sleep_10k", "time", "ns", "10,000 sleepers: lateness, p99"),
    ("sleep_10k", "wall_ms", "ms", "10,000 sleepers of 1-100 ms: wall time"),
    ("sleep_10k", "cpu_ms", "ms", "10,000 sleepers: CPU time"),
    ("sleep_10k", "bytes", "B", "10,000 sleepers: memory for each"),
    ("sleep_storm_cold", "cpu_ms", "ms", "100,000 sleepers, cold: CPU time"),
    ("sleep_storm_warm", "cpu_ms", "ms", "100,000 sleepers, warm: CPU time"),
    ("sleep_storm_warm", "p99_us", "us", "100,000 sleepers, warm: lateness, p99"),
    ("parked_memory", "bytes", "B", "memory per parked fiber or thread"),
    ("fib", "time", "ns", "fork-join: fib(25), per spawn"),
    ("skynet", "time", "ns", "fan-out/fan-in: skynet, 1,000,000 leaves"),
    ("gather", "time", "ns", "gather 100,000 sleeping tasks, per task"),
    ("offload", "time", "ns", "offload a tiny call, 100 in flight"),
    ("post_wake", "time", "ns", "outside thread <-> fiber, one CPU"),
    ("post_wake_free", "time", "ns", "outside thread <-> fiber, any CPU"),
    ("idle", "cpu_us", "us", "idle process: CPU per second"),
    ("idle", "wakeups", "1", "idle process: wake-ups per second"),
]

# The I/O benchmarks, a run of their own.
IO_CASES = {
    "echo_1": "echo, 1 connection, one CPU",
    "echo_1_apart": "echo, 1 connection",
    "echo_100": "echo, 100 connections",
    "echo_1000": "echo, 1,000 connections",
    "http_100": "HTTP, 100 connections",
    "http_100_wrk": "HTTP by wrk, 100 connections",
    "idle_10k": "10,000 idle connections",
}
IO_METRICS = [
    ("rate", "/s", "requests"),
    ("p50_us", "us", "latency, p50"),
    ("p99_us", "us", "latency, p99"),
    ("p999_us", "us", "latency, p99.9"),
    ("cpu_ns", "ns", "CPU per request"),
]
IDLE_METRICS = [("bytes", "B", "memory each"), ("kernel_bytes", "B", "kernel's memory each, both ends")]
METRICS += [(case, metric, unit, f"{label}: {what}") for case, label in IO_CASES.items()
            for metric, unit, what in (IDLE_METRICS if case == "idle_10k" else IO_METRICS)]

LARGER_IS_BETTER = {"/s"}  # units
NANOSECONDS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
SCALE = {"ns": 1, "us": 1e3, "ms": 1e6, "B": 1, "1": 1, "/s": 1}


@dataclass
class Figure:
    """All repetitions of one metric of one case, system and worker count; times in ns, memory in bytes."""

    values: list = field(default_factory=list)
    error: str = ""

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def best(self):
        return min(self.values)

    @property
    def spread(self):
        """Half of the range, as a fraction of the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median if self.median else 0.0


@dataclass
class Run:
    """figures[case, metric, workers, system], and what each system said about its configuration.

    Besides those of METRICS there is "wall", the wall time where "time" may be CPU time, and "busy" and "load_busy", the
    shares of their CPUs that an I/O server and its load have used.
    """

    figures: dict = field(default_factory=dict)
    configurations: dict = field(default_factory=dict)
    machine: dict = field(default_factory=dict)
    cpu_time: bool = False  # one worker's times are CPU times
    harness: float = 0.0  # ns per operation of an empty loop
    lost_cpu: list = field(default_factory=list)  # shares of the CPU that a loop which never waits did not get

    def get(self, case, metric, workers, system):
        """The figure, or None if it was not measured or failed."""
        figure = self.figures.get((case, metric, workers, system))
        return figure if figure and figure.values and not figure.error else None

    def of_io(self):
        """Whether this is a run of the I/O benchmarks."""
        return any(key[0] in IO_CASES for key in self.figures)

    def worker_counts(self):
        return sorted({key[2] for key in self.figures})

    def systems(self):
        present = {key[3] for key in self.figures}
        return [system for system in SYSTEMS if system in present]

    def errors(self):
        return sorted({(f"{c}/{s}/workers:{w}", figure.error) for (c, _, w, s), figure in self.figures.items()
                       if figure.error})


def _cpu_time(row):
    """CPU time of the whole process per operation, in ns; None where it was not taken or means nothing."""
    if "cpu_ns" in row:
        return row["cpu_ns"]
    if row.get("name", "").endswith("/process_time/real_time"):
        return row["cpu_time"] * NANOSECONDS[row["time_unit"]]
    return None


def _add_row(run, row, use_cpu=False):
    match = re.match(r"([^/]+)/([^/]+)/workers:(\d+)", row["run_name"])
    if not match or row.get("run_type") != "iteration":
        return
    case, system, workers = match[1], match[2], int(match[3])
    if system in ("loop", "raw") and row.get("real_time"):
        run.lost_cpu.append(1 - row["cpu_time"] / row["real_time"])
    if "others" in row:
        run.lost_cpu.append(row["others"])
    for hidden in ("busy", "load_busy"):
        if hidden in row:
            run.figures.setdefault((case, hidden, workers, system), Figure()).values.append(row[hidden])
    if case == "harness":
        run.harness = row["cpu_time"]
        return
    for metric_case, metric, unit, _ in METRICS:
        if metric_case != case:
            continue
        figure = run.figures.setdefault((case, metric, workers, system), Figure())
        if row.get("error_occurred"):
            figure.error = row.get("error_message", "failed")
        elif metric == "time":
            wall = row["real_time"] * NANOSECONDS[row["time_unit"]]
            cpu = _cpu_time(row) if use_cpu and workers == 1 else None
            figure.values.append(wall if cpu is None else cpu)
            run.figures.setdefault((case, "wall", workers, system), Figure()).values.append(wall)
        elif metric in row:
            figure.values.append(row[metric] * SCALE[unit])


def load(paths, use_cpu=False):
    """Reads result files in order; an unreadable one is skipped, since its run has been reported as failed.

    use_cpu: what ran on one CPU and never waited is given in CPU time, for a machine that is busy with other things.
    """
    run = Run(cpu_time=use_cpu)
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
        except (OSError, ValueError):
            continue
        for key, value in document.get("context", {}).items():
            if key.startswith("system:"):
                run.configurations[key.removeprefix("system:")] = value
            else:
                run.machine[key] = value
        for row in document.get("benchmarks", []):
            _add_row(run, row, use_cpu)
    return run


def add_failures(run, lines):
    """Lines "case/system/workers:N reason": what ended without a result."""
    for line in lines:
        name, _, reason = line.strip().partition(" ")
        if name:
            _add_row(run, {"run_name": name, "run_type": "iteration", "error_occurred": True, "error_message": reason})


def as_json(run):
    """The run as plain data, for --json and for other programs."""
    results = []
    for (case, metric, workers, system), figure in run.figures.items():
        unit = next((u for c, m, u, _ in METRICS if (c, m) == (case, metric)), "1" if "busy" in metric else "ns")
        row = {"name": f"{case}/{system}/workers:{workers}", "metric": metric,
               "unit": "ns" if unit in NANOSECONDS else {"B": "bytes", "1": "count", "/s": "per second"}[unit]}
        if figure.error:
            row["error"] = figure.error
        elif figure.values:
            row |= {"median": figure.median, "min": figure.best, "max": max(figure.values),
                    "repetitions": len(figure.values), "values": figure.values}
        results.append(row)
    return {"machine": run.machine, "systems": run.configurations, "harness_ns": run.harness, "results": results}
