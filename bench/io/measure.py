#!/usr/bin/env python3
"""Measures the I/O benchmarks: starts each server, loads it, and writes figures as bench/report.py reads them.

One CPU belongs to the server and another one to the load. The systems take turns: A B C, A B C ..., every time with a
new server. Before anything is measured, each server is tried with requests in pieces, several at once, and a peer that
closes its half: one that gives wrong answers has no figures.
"""
import argparse
import ctypes
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!"
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """A system has no figure, and why."""


@dataclass
class Case:
    """kind: what the server does; one_cpu: the load shares the server's CPU, so that nobody waits for a CPU to wake."""

    name: str
    kind: str
    connections: int
    seconds: float = 0.8
    one_cpu: bool = False


CASES = [
    Case("echo_1", "echo", 1, seconds=0.4, one_cpu=True),
    Case("echo_1_apart", "echo", 1, seconds=0.4),
    Case("echo_100", "echo", 100),
    Case("echo_1000", "echo", 1000),
    Case("http_100", "http", 100),
    Case("http_100_wrk", "http", 100, seconds=2),
    Case("idle_10k", "echo", 10_000),
]
WARM_UP = 0.2  # seconds


def systems(build):
    """What can be measured: the command of each server, to which "echo" or "http" is added."""
    commands = {
        "fiber": [build / "bench/io_fibers"],
        "epoll": [build / "bench/io_epoll"],
        "thread": [build / "bench/io_threads"],
        "asio": [build / "bench/io_asio"],
        "go": [build / "go_io"],
        "asyncio": [sys.executable, "-B", HERE / "servers/asyncio_server.py"],
    }
    return {name: [str(word) for word in words] for name, words in commands.items() if Path(words[0]).exists()}


def on_cpu(cpu):
    """What a child does before it starts: it moves to its CPU, and will not outlive this program."""

    def prepare():
        os.sched_setaffinity(0, {cpu})
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return prepare


def cpu_seconds(pid):
    """CPU time of a process, all its threads, to the nanosecond (clock_getcpuclockid)."""
    return time.clock_gettime(~pid << 3 | 2)


class Server:
    """A running server; as a context manager, so that it never stays behind."""

    def __init__(self, command, kind, cpu, log):
        self.process = subprocess.Popen([*command, kind], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                        preexec_fn=on_cpu(cpu))

    def __enter__(self):
        ready, _, _ = select.select([self.process.stdout], [], [], 10)
        line = self.process.stdout.readline().decode() if ready else ""
        port, _, self.configuration = line.strip().partition(" ")
        if not port.isdigit():
            self.__exit__()
            raise Failed("the server did not start")
        self.port = int(port)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def memory(self):
        """Bytes that are resident, and those of its page tables."""
        read = lambda name, key: next(int(line.split()[1]) * 1024 for line in Path(
            f"/proc/{self.process.pid}/{name}").read_text().splitlines() if line.startswith(key + ":"))
        return read("smaps_rollup", "Rss") + read("status", "VmPTE")


# --- is it a right server? -------------------------------------------------------------------------------------------

def receive(connection, count):
    """So many bytes, fewer only at the end of the stream."""
    parts, missing = [], count
    while missing:
        part = connection.recv(missing)
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def expect(right, what):
    if not right:
        raise Failed(f"wrong server: {what}")


def try_echo(connection):
    data = os.urandom(50_000)
    connection.sendall(data)
    expect(receive(connection, len(data)) == data, "50,000 bytes came back changed")
    connection.sendall(b"last")
    connection.shutdown(socket.SHUT_WR)
    expect(receive(connection, 5) == b"last", "what was sent before the end of the stream was not echoed")


def try_http(connection):
    for i in range(len(REQUEST)):
        connection.sendall(REQUEST[i:i + 1])
    expect(receive(connection, len(RESPONSE)) == RESPONSE, "a request byte by byte")
    connection.sendall(REQUEST * 3 + REQUEST[:-2])
    expect(receive(connection, 3 * len(RESPONSE)) == RESPONSE * 3, "three requests at once")
    connection.sendall(REQUEST[-2:] + REQUEST)
    expect(receive(connection, 2 * len(RESPONSE)) == RESPONSE * 2, "a request whose blank line came in two parts")
    connection.sendall(REQUEST * 500)
    expect(receive(connection, 500 * len(RESPONSE)) == RESPONSE * 500, "500 requests at once")


def try_server(command, kind, cpu, log):
    """Throws Failed with what the server does wrong; returns its configuration."""
    with Server(command, kind, cpu, log) as server:
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try_echo(connection) if kind == "echo" else try_http(connection)
        except OSError as error:
            raise Failed(f"wrong server: {error}") from error
        return server.configuration


# --- measuring -------------------------------------------------------------------------------------------------------

def run_load(words, cpu, limit):
    """Runs a load generator; its last line is its figures."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit,
                              preexec_fn=on_cpu(cpu))
    except subprocess.TimeoutExpired as error:
        raise Failed(f"the load did not end within {limit:.0f} s") from error
    if done.returncode:
        raise Failed(done.stderr.strip() or f"the load ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def figures_of(measured):
    """One repetition, as report.py reads it. busy: share of its CPU that the server, and the load, has used."""
    requests, seconds = measured["requests"], measured["seconds"]
    if not requests:
        raise Failed("no request was answered")
    if measured.get("errors") or measured.get("starved"):
        raise Failed(f"{measured.get('errors', 0)} errors, {measured.get('starved', 0)} connections without an answer")
    return {"rate": requests / seconds, "cpu_ns": measured["server_cpu"] / requests * 1e9,
            "busy": measured["server_cpu"] / seconds, "load_busy": measured["load_cpu"] / seconds,
            **{key: measured[key] for key in ("p50_us", "p99_us", "p999_us")}}


def measure_load(case, server, build, cpu):
    words = [build / "bench/io_load", case.kind, server.port, case.connections, case.seconds, WARM_UP, server.process.pid]
    return figures_of(run_load([str(word) for word in words], cpu, case.seconds + 20))


def measure_wrk(case, server, _, cpu):
    """wrk on one thread. Its measured time includes connecting, for every server alike."""
    words = ["wrk", "-t1", f"-c{case.connections}", f"-d{case.seconds}s", "--timeout", "5s", "-s",
             str(HERE / "report.lua"), f"http://127.0.0.1:{server.port}/"]
    children = lambda: resource.getrusage(resource.RUSAGE_CHILDREN)
    used = lambda usage: usage.ru_utime + usage.ru_stime
    server_cpu, load_cpu = cpu_seconds(server.process.pid), used(children())
    measured = run_load(words, cpu, case.seconds + 20)
    measured["server_cpu"] = cpu_seconds(server.process.pid) - server_cpu
    measured["load_cpu"] = used(children()) - load_cpu
    return figures_of(measured)


def kernel_memory():
    """Bytes the whole kernel holds for sockets, files and thread stacks."""
    numbers = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    kibibytes = sum(int(numbers[key].split()[0]) for key in ("Slab", "KernelStack"))
    tcp = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:")).split()
    return kibibytes * 1024 + int(tcp[tcp.index("mem") + 1]) * resource.getpagesize()


def measure_idle(case, server, build, cpu):
    """Memory per connection that has been used once and is quiet since."""
    command = lambda count: [str(build / "bench/io_load"), "idle", str(server.port), str(count)]
    subprocess.run(command(1), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=10, check=True)
    before, kernel_before = server.memory(), kernel_memory()
    with subprocess.Popen(command(case.connections), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=on_cpu(cpu)) as load:
        try:
            ready, _, _ = select.select([load.stdout], [], [], 60)
            if not ready or load.stdout.readline() != b"ready\n":
                load.kill()
                raise Failed(load.stderr.read().decode().strip() or "the connections were not all served within 60 s")
            memory, kernel = server.memory() - before, kernel_memory() - kernel_before
        finally:
            load.kill()
    return {"bytes": memory / case.connections, "kernel_bytes": kernel / case.connections}


HOW = {"http_100_wrk": measure_wrk, "idle_10k": measure_idle}


def used_seconds(cpus):
    """How long these CPUs have been busy, with anything at all, or taken away by the machine's host."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words[0] in {f"cpu{cpu}" for cpu in cpus}:
            user, nice, system, _, _, irq, softirq, steal = (int(word) for word in words[1:9])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def measure_watched(case, command, options, cpus, log):
    """As measure(), up to three times, until other programs have used little.

    "others": the share of the CPUs that neither the server nor the load has used.
    """
    for attempt in range(3):
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        start, used = time.monotonic(), used_seconds(cpus)
        figures = measure(case, command, options, cpus, log)
        elapsed, used = time.monotonic() - start, used_seconds(cpus) - used
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = own.ru_utime + own.ru_stime - children.ru_utime - children.ru_stime
        figures["others"] = max(0.0, (used - own) / elapsed / len(cpus))
        if figures["others"] < 0.1:
            break
    return figures


def measure(case, command, options, cpus, log):
    server_cpu, load_cpu = cpus[0], cpus[0] if case.one_cpu else cpus[-1]
    how = HOW.get(case.name, measure_load)
    with Server(command, case.kind, server_cpu, log) as server:
        try:
            return how(case, server, options.build, load_cpu)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise Failed(f"{type(error).__name__}: {error}") from error


# --- the whole run ---------------------------------------------------------------------------------------------------

def say(text):
    print(text, file=sys.stderr, flush=True)


def row(case, system, figures):
    return {"run_name": f"{case.name}/{system}/workers:1", "run_type": "iteration", **figures}


def short(figures):
    return f"{figures['bytes'] / 1024:.1f} KiB" if "bytes" in figures else f"{figures['rate']:,.0f}/s"


def measure_case(case, commands, options, cpus, log, title):
    """All rounds of one case; a system that fails has no further turn."""
    rows, failed = [], set()
    rounds = 1 if case.name == "idle_10k" else options.repetitions
    for turn in range(rounds):
        seen = []
        for system in commands:
            if system in failed:
                continue
            try:
                figures = measure_watched(case, commands[system], options, cpus, log)
                seen.append(f"{system} {short(figures)}")
            except Failed as error:
                failed.add(system)
                figures = {"error_occurred": True, "error_message": str(error)}
                seen.append(f"{system} FAILED")
            rows.append(row(case, system, figures))
        say(f"{title} {case.name}, round {turn + 1}/{rounds}: {', '.join(seen)}")
    return rows


def try_all(commands, kinds, cpu, log):
    """(configurations, {(system, kind): what is wrong})."""
    configurations, wrong = {}, {}
    for system, command in commands.items():
        for kind in kinds:
            try:
                configurations[system] = try_server(command, kind, cpu, log)
            except Failed as error:
                wrong[system, kind] = str(error)
    return configurations, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="where the servers and the load were built")
    parser.add_argument("--output", type=Path, required=True, help="where the figures go")
    parser.add_argument("--filter", default=".", help="regular expression over case/system/workers:1")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()

    # 10,000 connections need as many descriptors on each side.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) == 1:
        say("only one CPU: the load takes its time from the servers, and no rate means what it should")
    wanted = {case.name: {system: command for system, command in systems(options.build).items()
                          if re.search(options.filter, f"{case.name}/{system}/workers:1")} for case in CASES}
    cases = [case for case in CASES if wanted[case.name]]
    rows = []
    with open(options.output.with_suffix(".log"), "w", encoding="utf-8") as log:
        commands = {system: command for case in cases for system, command in wanted[case.name].items()}
        configurations, wrong = try_all(commands, sorted({case.kind for case in cases}), cpus[0], log)
        for i, case in enumerate(cases, 1):
            bad = {system: wrong[system, case.kind] for system in wanted[case.name] if (system, case.kind) in wrong}
            rows += [row(case, s, {"error_occurred": True, "error_message": message}) for s, message in bad.items()]
            right = {system: command for system, command in wanted[case.name].items() if system not in bad}
            rows += measure_case(case, right, options, cpus, log, f"[{i}/{len(cases)}]")
            # After each case: what is stopped midway has figures of those before.
            context = {f"system:{system}": text for system, text in configurations.items()}
            options.output.write_text(json.dumps({"context": context, "benchmarks": rows}) + "\n")


if __name__ == "__main__":
    main()
