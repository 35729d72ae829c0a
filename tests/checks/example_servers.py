"""What the checks of the example programs share: servers that are started and surely stopped, raw peers, and cases.

    def talks(build):
        with Server([program(build, "chat_server"), "--port", "0"]) as server, Peer(server.port) as peer:
            expect(peer.line(), "* nickname?", "the greeting")

    if __name__ == "__main__":
        main("chat server", {"talks": talks})

A case is a function of the build directory. It fails by an exception, and is skipped, visibly, by Unavailable: what it
needs is not on this machine. Each server runs in a process group and a temporary directory of its own. Both go when its
`with` ends, also when the check is told to end (SIGTERM); if the check is killed the kernel kills the servers, and the
next check sweeps their directories.
"""

import contextlib
import ctypes
import glob
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from report import Report

PREFIX = "fiber-example-"
PATIENCE = 30  # seconds for whatever must happen; a busy machine is slow
LIBC = ctypes.CDLL(None, use_errno=True)
DEFECT = re.compile(r"Sanitizer|runtime error:|never retrieved|terminate called")  # said by a program of ours


class Unavailable(Exception):
    """What a case needs is not here. The text says what, and how to get it."""


# --- what is here ---

def program(build, name, needs=None):
    """The path of an example. `needs`: the Debian packages without which the build leaves it out."""
    path = os.path.join(os.path.abspath(build), "docs", name)
    if os.path.exists(path):
        return path
    if needs:
        raise Unavailable(f"{name} was not built: its library was not found (Debian: apt-get install {needs})")
    raise AssertionError(f"there is no {path}: it was not built")


def tool(name, package, *places):
    """The path of a program of the system. `places` are patterns of where else it may be."""
    found = shutil.which(name)
    for place in places:
        found = found or next(iter(sorted(glob.glob(place), reverse=True)), None)
    if not found:
        raise Unavailable(f"{name} is not installed (Debian: apt-get install {package})")
    return found


def free_port():
    """A port that nobody listens on now. For servers that cannot say which one they took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- directories ---

def sweep():
    """Removes what earlier checks have left that were killed."""
    for path in glob.glob(os.path.join(tempfile.gettempdir(), PREFIX + "*")):
        owner = re.fullmatch(re.escape(PREFIX) + r"(\d+)-.*", os.path.basename(path))
        if owner and not os.path.exists(f"/proc/{owner[1]}"):
            shutil.rmtree(path, ignore_errors=True)


class Directory:
    """A temporary directory: `with Directory() as path`. `user`: whom it belongs to, if not to this process's user."""

    def __init__(self, user=None):
        self.path = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
        if user:
            entry = pwd.getpwnam(user)
            os.chown(self.path, entry.pw_uid, entry.pw_gid)

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


# --- processes ---

def end_with(parent, by=signal.SIGKILL):
    """For the child, before it becomes the program: the kernel sends it this signal when the check has died."""
    def prepare():
        pr_set_pdeathsig = 1
        LIBC.prctl(pr_set_pdeathsig, by)
        if os.getppid() != parent:
            os._exit(1)
    return prepare


def user_options(user):
    """Options of subprocess for running as `user`; none if that is who we are, Unavailable if we may not."""
    if not user or pwd.getpwuid(os.geteuid()).pw_name == user:
        return {}
    if os.geteuid() != 0:
        raise Unavailable(f"only root may start a program as user {user}")
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Server:
    """A program that runs meanwhile. `ready`: a pattern of what it prints when it can be used; if that has a group, it
    is the port. None: once something listens on `port`. The program's standard input is a pipe if `stdin` is set.
    `ends_by`: the signal that it ends by in time, whoever still talks to it. `dies_by`: the one that it gets when the
    check was killed."""

    def __init__(self, command, ready=r"listening on .*:(\d+)", port=None, user=None, env=None, stdin=False, cwd=None,
                 ends_by=signal.SIGTERM, dies_by=signal.SIGKILL):
        self.command, self.ready, self.port, self.ends_by = command, ready, port, ends_by
        self.directory, self.over = Directory(user), False
        self.log = os.path.join(self.directory.path, "output")
        options = user_options(user)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=cwd or self.directory.path, env={**os.environ, **(env or {})}, start_new_session=True,
                preexec_fn=end_with(os.getpid(), dies_by), **options)

    def __enter__(self):
        try:
            self.await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind, *_):
        if not os.path.exists(self.log):
            return  # it was stopped before
        crashed = (self.process.poll() or 0) < 0
        self.end()
        output = self.output()
        self.stop()
        if kind is None and (crashed or DEFECT.search(output)):
            raise AssertionError(f"{self.command}, status {self.process.returncode}, says:\n{shown(output)}")

    def await_ready(self):
        if self.ready is not None:
            found = self.await_output(self.ready)
            if found.groups():
                self.port = int(found[1])
            return
        until(lambda: self.listens() or self.process.poll() is not None, f"{self.command[0]} listens on {self.port}")
        if self.process.poll() is not None:
            raise AssertionError(f"{self.command} ended with status {self.process.returncode}:\n{self.output()}")

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def await_output(self, pattern):
        """Waits until what it has printed matches; returns the match."""
        def look():
            return re.search(pattern, self.output()) or self.process.poll() is not None
        until(look, f"{self.command[0]} prints {pattern!r}")
        found = re.search(pattern, self.output())
        if not found:
            raise AssertionError(f"{self.command} ended with status {self.process.returncode} and never printed "
                                 f"{pattern!r}:\n{self.output()}")
        return found

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=PATIENCE):
        """Its exit status, once it has ended by itself or by a signal that was sent."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} has not ended after {timeout} s:\n{self.output()}") from None

    def memory(self):
        """Bytes of it that are in memory."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024

    def connections(self):
        """How many it holds, if it has one listener and no other sockets."""
        sockets = 0
        for descriptor in os.scandir(f"/proc/{self.process.pid}/fd"):
            try:
                sockets += os.readlink(descriptor.path).startswith("socket:")
            except FileNotFoundError:
                pass  # closed meanwhile
        return sockets - 1

    def stop(self):
        """Ends it, with all that it has started, and removes its directory. Again: nothing."""
        self.end()
        self.directory.__exit__()

    def end(self):
        if self.over:
            return  # its number may be another's by now
        if self.process.poll() is None:
            os.killpg(self.process.pid, self.ends_by)  # its session and group have its number
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        self.over = True


def call(command, stdin="", timeout=PATIENCE, **options):
    """Runs a program to its end: (exit status, standard output, standard error)."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout,
                          check=False, preexec_fn=end_with(os.getpid()), **options)
    if DEFECT.search(done.stderr):
        raise AssertionError(f"{command}, status {done.returncode}, says:\n{shown(done.stderr)}")
    return done.returncode, done.stdout, done.stderr


# --- peers ---

class Peer:
    """A plain blocking socket, for what well-behaved clients do not do."""

    def __init__(self, port=None, receive_buffer=None, accepted=None):
        self.socket = accepted or socket.socket()
        self.rest = b""
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if not accepted:
            self.socket.connect(("127.0.0.1", port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def was_read(self):
        """Has the program at the other end taken everything that was sent out of its socket? As /proc/net/tcp shows it."""
        ends = [f"0100007F:{port:04X}" for port in (self.socket.getpeername()[1], self.socket.getsockname()[1])]
        with open("/proc/net/tcp", encoding="ascii") as sockets:
            for fields in map(str.split, sockets):
                if fields[1:3] == ends:
                    return fields[4].endswith(":00000000")
        return False

    def end(self):
        """Sends the end; reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Closes without a farewell: the other side gets ECONNRESET."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def receive_until(self, delimiter):
        while delimiter not in self.rest:
            more = self.socket.recv(65536)
            if not more:
                raise AssertionError(f"the connection ended behind {len(self.rest)} bytes, {self.rest[-100:]!r}")
            self.rest += more
        found, self.rest = self.rest.split(delimiter, 1)
        return found

    def receive_exactly(self, count):
        while len(self.rest) < count:
            more = self.socket.recv(65536)
            if not more:
                raise AssertionError(f"the connection ended behind {len(self.rest)} bytes, {self.rest[-100:]!r}")
            self.rest += more
        found, self.rest = self.rest[:count], self.rest[count:]
        return found

    def line(self):
        return self.receive_until(b"\n").rstrip(b"\r").decode()

    def all(self):
        """Everything until the end of the connection, a reset included."""
        try:
            while more := self.socket.recv(65536):
                self.rest += more
        except ConnectionResetError:
            pass
        found, self.rest = self.rest, b""
        return found


class Fake:
    """A server that misbehaves: for each connection `act(peer)`, on a thread of its own; then the connection is closed.
    An OSError in it ends it: the other side has gone. `connections`: how many there were."""

    def __init__(self, act):
        self.act, self.connections = act, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self.listener.close()

    def accept(self):
        try:
            while True:
                peer = Peer(accepted=self.listener.accept()[0])
                self.connections += 1
                threading.Thread(target=self.serve, args=(peer,), daemon=True).start()
        except OSError:
            pass

    def serve(self, peer):
        with peer:
            try:
                self.act(peer)
            except (OSError, AssertionError):
                pass


# --- cases ---

def shown(value, most=2000):
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]} ... ({len(text)} characters)"


def expect(actual, wanted, what):
    if actual != wanted:
        raise AssertionError(f"{what}: expected {shown(wanted)}, got {shown(actual)}")


def expect_in(part, whole, what):
    if part not in whole:
        raise AssertionError(f"{what}: {part!r} is not in {shown(whole)}")


def until(condition, what, timeout=PATIENCE):
    """Waits until condition() is true."""
    limit = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > limit:
            raise AssertionError(f"not after {timeout} s: {what}")
        time.sleep(0.01)


def run_case(report, name, case, arguments):
    start = time.monotonic()
    try:
        case(*arguments)
        problem = ""
    except Unavailable as reason:
        report.skip(name, str(reason))
        return
    except Exception:  # whatever it is, the next case is run
        problem = traceback.format_exc()
    report.add(name, problem, time.monotonic() - start)


def main(title, cases, around=None):
    """Runs the cases with the build directory of the command line; behind that, names of cases select. `around(build)`:
    makes a context for all of them, and its value is their second argument."""
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} BUILD_DIRECTORY [CASE...]")
    build, wanted = sys.argv[1], sys.argv[2:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # unwinds, and so stops the servers
    sweep()
    report = Report()
    cases = {f"{title}: {name}": case for name, case in cases.items() if not wanted or name in wanted}
    with contextlib.ExitStack() as stack:
        try:
            arguments = [build, stack.enter_context(around(build))] if around else [build]
        except Unavailable as reason:
            for name in cases:
                report.skip(name, str(reason))
            cases = {}
        for name, case in cases.items():
            run_case(report, name, case, arguments)
    report.finish()
