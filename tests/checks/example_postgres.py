#!/usr/bin/env python3
"""The PostgreSQL example, with a real server: a fresh cluster in a temporary directory, which trusts everybody there.

Usage: example_postgres.py <build directory> [case...]
"""

import os
import pwd
import signal
import time
from contextlib import contextmanager

from example_servers import (Directory, Fake, Server, Unavailable, call, expect, expect_in, free_port, main, program,
                             tool, until)

PLACES = "/usr/lib/postgresql/*/bin/"


def owner():
    """Who runs the server: it refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            pass
    raise Unavailable("PostgreSQL does not run as root, and there is no user postgres or nobody")


@contextmanager
def cluster(build):
    program(build, "postgres", "libpq-dev")
    initdb, postgres = (tool(name, "postgresql", PLACES + name) for name in ("initdb", "postgres"))
    with Directory(owner()) as place:
        data, port = os.path.join(place, "data"), free_port()
        with Server([initdb, "-D", data, "-A", "trust", "-U", "tester", "--no-sync", "--locale=C", "-E", "UTF8"],
                    ready="Success", user=owner(), dies_by=signal.SIGTERM) as making:
            expect(making.wait(), 0, "the exit status of initdb")
        with Server([postgres, "-D", data, "-k", place, "-h", "127.0.0.1", "-p", str(port), "-F", "-N", "20"],
                    ready="ready to accept connections", port=port, user=owner(), ends_by=signal.SIGINT,
                    dies_by=signal.SIGINT) as server:  # its shared memory would outlive a SIGKILL
            server.sockets = place
            yield server


def where(server):
    return f"host=127.0.0.1 port={server.port} user=tester dbname=postgres"


def run(build, server, *arguments, stdin="", db=None):
    """(exit status, lines of standard output, standard error)"""
    status, out, error = call([program(build, "postgres", "libpq-dev"), "--db", db or where(server), *arguments], stdin)
    return status, out.splitlines(), error


def active(build, server, part):
    """How many queries with this text run on the server."""
    return run(build, server, f"select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() "
                              f"and query like '%{part}%'")[1] != ["0"]


def results(build, server):
    for query, lines in {
            "select 1, null, 'a\tb\nc\\d'": ["1\t\\N\ta\\tb\\nc\\\\d"], "select 1 where false": [],
            "create table t (n int)": ["CREATE TABLE"], "insert into t values (1), (2)": ["INSERT 0 2"],
            "select n from t order by n": ["1", "2"], "select 1; select 2": ["2"], "": [""],
            "select * from generate_series(1, 100000)": [str(n) for n in range(1, 100001)]}.items():
        expect(run(build, server, "--", query), (0, lines, ""), f"the rows of {query!r}")
    long = "x" * 8_000_000
    expect(run(build, server, stdin=f"select length('{long}')\nselect 2"), (0, ["8000000", "2"], ""),
           "a query that does not fit into the socket's buffer, from standard input")
    expect(run(build, server, "select 1", db=where(server).replace("127.0.0.1", server.sockets)), (0, ["1"], ""),
           "through the Unix socket")


def at_once(build, server):
    start = time.monotonic()
    expect(run(build, server, "--connections", "8", *(f"select pg_sleep(1), {n}" for n in range(8))),
           (0, [f"\t{n}" for n in range(8)], ""), "the results, in the order of the queries")
    seconds = time.monotonic() - start
    assert 1 <= seconds < 8, f"eight queries of a second each took {seconds:.1f} s"
    status, lines, _ = run(build, server, "--connections", "2", *["select pg_backend_pid()"] * 50)
    expect((status, len(lines), len(set(lines)) <= 2), (0, 50, True), "fifty queries on two connections")


def errors(build, server):
    status, lines, error = run(build, server, "select 1", "selekt", "select 1/0", "select 4")
    expect((status, lines), (1, ["1", "4"]), "what went well")
    expect_in('query 2: ERROR:  syntax error at or near "selekt"', error, "what did not")
    expect_in("query 3: ERROR:  division by zero", error, "what did not")
    for first, said in {"copy (select 1) to stdout": "COPY is not supported", "copy t from stdin": "query 1",
                        "select pg_terminate_backend(pg_backend_pid())": "terminating connection", "begin": ""}.items():
        status, lines, error = run(build, server, "--connections", "1", first, "select 'next'")
        expect((lines[-1:], said in error), (["next"], True), f"a useless connection is replaced, after {first!r}: {error!r}")


def time_out(build, server):
    """The query is cancelled on the server, too, and the connection goes on being used."""
    status, lines, error = run(build, server, "--connections", "1", "--timeout", "3", "set application_name = 'marked'",
                               "select pg_sleep(600)", "show application_name")
    expect((status, lines), (1, ["SET", "marked"]), "what went well, on the same connection")
    expect_in("query 2: fiber: timed out", error, "what did not")
    until(lambda: not active(build, server, "pg_sleep(600)"), "it runs on the server no more")


def interrupted(build, server):
    for number in (signal.SIGINT, signal.SIGTERM):
        with Server([program(build, "postgres", "libpq-dev"), "--db", where(server), "--connections", "3"] + ["select pg_sleep(500)"] * 7,
                    ready="") as client:
            until(lambda: active(build, server, "pg_sleep(500)"), "the queries run")
            client.signal(number)
            expect(client.wait(), 1, "the exit status")
            expect(client.output().count("cancelled"), 7, f"queries that were cancelled, in {client.output()!r}")
            until(lambda: not active(build, server, "pg_sleep(500)"), "they run on the server no more")


def no_server(build, server):
    for db, said in {f"host=127.0.0.1 port={free_port()} user=tester": "refused", "nonsense": "missing \"=\"",
                     where(server).replace("dbname=postgres", "dbname=none"): "does not exist",
                     "host=/nowhere user=tester": "No such file"}.items():
        status, lines, error = run(build, server, "select 1", db=db)
        expect((status, lines, said in error), (1, [], True), f"{db}: {error!r}")
    with Fake(lambda peer: peer.all()) as silent:
        status, _, error = run(build, server, "--timeout", "1", "select 1", "select 2",
                               db=f"host=127.0.0.1 port={silent.port} user=tester sslmode=disable")
        expect((status, error.count("timed out")), (1, 2), f"a server that says nothing: {error!r}")
    with Fake(lambda peer: peer.reset()) as resetting:
        status, _, error = run(build, server, "select 1", db=f"host=127.0.0.1 port={resetting.port} user=tester")
        expect((status, "query 1: " in error), (1, True), f"a server that resets: {error!r}")
    for wrong in (["--connections", "0"], ["--timeout", "never"], ["--what"]):
        status, _, error = run(build, server, *wrong)
        expect((status, "usage:" in error), (2, True), f"the command line {wrong}")


if __name__ == "__main__":
    main("PostgreSQL", {"results": results, "at once": at_once, "errors": errors, "time-out": time_out,
                        "interrupted": interrupted, "no server": no_server}, cluster)
