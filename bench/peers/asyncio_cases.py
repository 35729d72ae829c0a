#!/usr/bin/env python3
"""asyncio's side of the benchmarks: prints Google Benchmark's JSON, as far as report.py reads it.

What each case measures stands at the head of the file of the same name in bench/cases.
"""
import argparse
import asyncio
import json
import os
import platform
import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

CASES = {}
FRESH = {"sleep_storm_cold", "sleep_storm_warm", "sleep_10k", "parked_memory", "idle_process"}
HELPERS = {"idle_process"}


def case(function):
    """Registers a coroutine function that returns one repetition's figures, "time" in seconds per operation."""
    CASES[function.__name__] = function
    return function


async def per_operation(n, batch, at_least=0.03):
    """Seconds per operation of a batch of n, after one warm-up."""
    await batch()
    count, start, cpu = 0, time.perf_counter(), cpu_seconds()
    while count == 0 or time.perf_counter() - start < at_least:
        await batch()
        count += n
    return {"time": (time.perf_counter() - start) / count, "cpu_ns": (cpu_seconds() - cpu) / count * 1e9}


def process_number(key, pid="self"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0


def memory(key):
    return process_number(key) * 1024


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def sleeping_time(i):
    """bench/harness/statistics.hpp's, to the number, in seconds."""
    mask = (1 << 64) - 1
    z = (i + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    z ^= z >> 31
    return (1000 + z % 99001) * 1e-6


async def small_work():
    return 1


@case
async def yield_():
    async def spin():
        for _ in range(2_000):
            await asyncio.sleep(0)

    return await per_operation(4_000, lambda: asyncio.gather(spin(), spin()))


@case
async def yield_many():
    async def spin():
        for _ in range(20):
            await asyncio.sleep(0)

    async def all_yields():
        tasks = [asyncio.create_task(spin()) for _ in range(10_000)]
        await asyncio.sleep(0)  # all have started and yielded once
        start, cpu = time.perf_counter(), cpu_seconds()
        for task in tasks:
            await task
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        return {"time": seconds / (10_000 * 19), "cpu_ns": cpu / (10_000 * 19) * 1e9}

    return await all_yields()


@case
async def spawn_one():
    async def batch():
        for _ in range(1_000):
            await asyncio.create_task(small_work())

    return await per_operation(1_000, batch)


@case
async def spawn_join():
    async def batch():
        tasks = [asyncio.create_task(small_work()) for _ in range(1_000)]
        for task in tasks:
            await task

    return await per_operation(1_000, batch)


@case
async def gather():
    async def sleepers():
        await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(100_000)))

    start, cpu = time.perf_counter(), cpu_seconds()
    await sleepers()
    return {"time": (time.perf_counter() - start) / 100_000, "cpu_ns": (cpu_seconds() - cpu) / 100_000 * 1e9}


async def last_storm(count, storms):
    resident, tables = memory("VmRSS"), memory("VmPTE")
    for _ in range(storms):
        late = [0.0] * count

        async def sleeper(i):
            length = sleeping_time(i)
            begin = time.perf_counter()
            await asyncio.sleep(length)
            late[i] = time.perf_counter() - begin - length

        start, cpu = time.perf_counter(), cpu_seconds()
        await asyncio.gather(*(sleeper(i) for i in range(count)))
        wall, used = time.perf_counter() - start, cpu_seconds() - cpu
    late.sort()
    grown = memory("VmHWM") - resident + memory("VmPTE") - tables
    return {"wall_ms": wall * 1e3, "cpu_ms": used * 1e3, "p99_us": late[int(0.99 * (count - 1))] * 1e6,
            "bytes": grown / count}


@case
async def sleep_storm_cold():
    figures = await last_storm(100_000, 1)
    return figures | {"time": figures["cpu_ms"] * 1e-3}


@case
async def sleep_storm_warm():
    figures = await last_storm(100_000, 2)
    return figures | {"time": figures["cpu_ms"] * 1e-3}


@case
async def sleep_10k():
    figures = await last_storm(10_000, 1)
    return figures | {"time": figures["p99_us"] * 1e-6}


@case
async def parked_memory():
    count = 100_000
    resident, tables = memory("VmRSS"), memory("VmPTE")
    start = time.perf_counter()
    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(count)]
    await asyncio.sleep(0.02)
    seconds = time.perf_counter() - start
    bytes_ = memory("VmRSS") - resident + memory("VmPTE") - tables
    del tasks
    return {"time": seconds / count, "bytes": bytes_ / count}


@case
async def offload():
    loop = asyncio.get_running_loop()

    def tiny(x):
        return x + 1

    async def caller(n):
        for i in range(n):
            await loop.run_in_executor(None, tiny, i)

    return await per_operation(1_000, lambda: asyncio.gather(*(caller(10) for _ in range(100))))


@case
async def post_wake():
    rounds, loop = 1_000, asyncio.get_running_loop()
    woken = asyncio.Event()
    back = threading.Semaphore(0)
    seconds = cpu = 0.0

    def outside():
        nonlocal seconds, cpu
        start, cpu = time.perf_counter(), cpu_seconds()
        for _ in range(rounds):
            loop.call_soon_threadsafe(woken.set)
            back.acquire()
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu

    thread = threading.Thread(target=outside)
    thread.start()
    for _ in range(rounds):
        await woken.wait()
        woken.clear()
        back.release()
    thread.join()
    return {"time": seconds / rounds, "cpu_ns": cpu / rounds * 1e9}


@case
async def idle_process():
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(1_000)))
    await asyncio.sleep(3600)


@case
async def idle():
    child = subprocess.Popen([sys.executable, __file__, "--child", "idle_process"])
    time.sleep(0.5)

    def seen():
        cpu = int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[0]) * 1e-9
        return cpu, process_number("voluntary_ctxt_switches", child.pid)

    cpu, woken = seen()
    time.sleep(0.5)
    cpu, woken = (after - before for after, before in zip(seen(), (cpu, woken)))
    child.kill()
    child.wait()
    return {"time": cpu / 0.5, "cpu_us": cpu / 0.5 * 1e6, "wakeups": woken / 0.5}


async def lock_from(contenders, hand_over):
    lock = asyncio.Lock()

    async def contender():
        for _ in range(200):
            async with lock:
                if hand_over:
                    await asyncio.sleep(0)

    return await per_operation(contenders * 200, lambda: asyncio.gather(*(contender() for _ in range(contenders))))


@case
async def mutex():
    return await lock_from(8, False)


@case
async def mutex_handover():
    return await lock_from(2, True)


@case
async def pingpong():
    async def batch():
        there, back = asyncio.Queue(1), asyncio.Queue(1)

        async def ping():
            for i in range(500):
                await there.put(i)
                assert await back.get() == i + 1

        async def pong():
            for _ in range(500):
                await back.put(await there.get() + 1)

        await asyncio.gather(ping(), pong())

    return await per_operation(500, batch)


@case
async def channel_mpmc():
    async def batch():
        queue = asyncio.Queue(128)

        async def produce():
            for i in range(1_000):
                await queue.put(i)

        async def consume():
            for _ in range(1_000):
                await queue.get()

        await asyncio.gather(*(produce() for _ in range(4)), *(consume() for _ in range(4)))

    return await per_operation(4_000, batch)


@case
async def pingpong_future():
    async def batch():
        loop = asyncio.get_running_loop()
        there = [loop.create_future() for _ in range(500)]
        back = [loop.create_future() for _ in range(500)]

        async def ping():
            for there_one, back_one in zip(there, back):
                there_one.set_result(1)
                await back_one

        async def pong():
            for there_one, back_one in zip(there, back):
                back_one.set_result(await there_one + 1)

        await asyncio.gather(ping(), pong())

    return await per_operation(500, batch)


@case
async def timer_cancel():
    async def batch():
        loop = asyncio.get_running_loop()
        promises = [loop.create_future() for _ in range(500)]

        async def wait():
            for one in promises:
                async with asyncio.timeout(10):
                    await one

        async def satisfy():
            for one in promises:
                await asyncio.sleep(0)
                one.set_result(1)

        await asyncio.gather(wait(), satisfy())

    return await per_operation(500, batch)


def one_repetition(name):
    if name in FRESH:
        done = subprocess.run([sys.executable, __file__, "--child", name], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)
    return asyncio.run(CASES[name]())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", "-filter", default=".")
    parser.add_argument("--repetitions", "-repetitions", type=int, default=5)
    parser.add_argument("--child")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(asyncio.run(CASES[arguments.child]())), flush=True)
        os._exit(0)  # 100,000 sleeping tasks need not be cancelled one by one
    rows = []
    for key in CASES.keys() - HELPERS:
        name = f"{key.rstrip('_')}/asyncio/workers:1"
        if not re.search(arguments.filter, name):
            continue
        for i in range(arguments.repetitions):
            row = {"run_name": name, "run_type": "iteration", "repetition_index": i, "time_unit": "ns"}
            try:
                figures = one_repetition(key)
                row |= figures | {"real_time": figures["time"] * 1e9}
            except Exception as error:  # the report shows what failed, the other cases go on
                row |= {"error_occurred": True, "error_message": repr(error)}
            rows.append(row)
    configuration = f"CPython {platform.python_version()}, default event loop (epoll), default executor"
    print(json.dumps({"context": {"system:asyncio": configuration}, "benchmarks": rows}))


if __name__ == "__main__":
    main()
