"""Loads the modules as the zygote does, and runs cells in processes forked from one template."""

import json
import os
import signal
import socket
import sys
import traceback
from typing import Any, Callable, Dict, List, Optional

HERE = os.path.dirname(os.path.abspath(__file__))
SITE = os.environ.get("CASEMATE_TEST_SITE")
NAMES = ("hooks", "streams", "results", "figures", "traces", "template", "forked", "cell")

if SITE and SITE not in sys.path:
    sys.path.insert(0, SITE)


def load() -> Any:
    """The module `casemate_cell`, from the sources beside these tests."""
    if "casemate_cell" not in sys.modules:
        with open(os.path.join(HERE, os.pardir, "sources.py")) as file:
            scope: Dict[str, Any] = {"__name__": "casemate_sources"}
            exec(compile(file.read(), "<casemate_sources>", "exec"), scope)
        sources = {}
        for name in NAMES:
            with open(os.path.join(HERE, os.pardir, name + ".py"), encoding="utf-8") as file:
                sources["casemate_" + name] = file.read()
        scope["install"](sources)
    import casemate_cell

    return casemate_cell


def importable(name: str) -> bool:
    """Whether there is such a package here."""
    import importlib.util

    return importlib.util.find_spec(name) is not None


class Ran:
    """What came of a process: its output in order, and how it ended."""

    def __init__(self, events: List[Any], status: int) -> None:
        self.events = events
        self.code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)

    def text(self, *kinds: str) -> str:
        return b"".join(data for kind, data in self.events if kind in kinds).decode(
            "utf-8", "surrogateescape"
        )

    @property
    def stdout(self) -> str:
        return self.text("stdout")

    @property
    def stderr(self) -> str:
        return self.text("stderr")

    @property
    def both(self) -> str:
        return self.text("stdout", "stderr")

    @property
    def results(self) -> List[Any]:
        return [json.loads(line) for line in self.text("results").splitlines()]


def start(
    body: Callable[[Any, Callable[[], None]], int], stdin: bytes = b"", prepare: Optional[Callable] = None
) -> Any:
    """Forks a process as the zygote does; `body(emit, settle)` runs in it. The process, and how to wait for it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipes = [os.pipe() for _ in range(3)]
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            for fd, pipe in enumerate(pipes):
                os.dup2(pipe[0 if fd == 0 else 1], fd)
            for pipe in pipes:
                os.close(pipe[0])
                os.close(pipe[1])
            import casemate_cell
            import casemate_streams

            def emit(kind: str, data: bytes) -> None:
                theirs.sendall(kind.encode() + b"\0" + data)

            casemate_cell.after_fork()
            code = body(emit, lambda: casemate_streams.wait_until_read(theirs.fileno()))
        except BaseException:
            traceback.print_exc()
            code = 99
        os._exit(code)
    theirs.close()
    os.close(pipes[0][0])
    for pipe in pipes[1:]:
        os.close(pipe[1])
    os.write(pipes[0][1], stdin)
    os.close(pipes[0][1])
    return Running(pid, ours, {"stdout": pipes[1][0], "stderr": pipes[2][0]})


class Running:
    """A process that runs a cell, read as the guest reads it."""

    def __init__(self, pid: int, frames: socket.socket, pipes: Dict[str, int]) -> None:
        self.pid = pid
        self._frames = frames
        self._pipes = pipes
        self.events: List[Any] = []

    def wait(self, until: Optional[Callable[[List[Any]], bool]] = None) -> Ran:
        """Reads to the end, or until what was read satisfies `until`."""
        import select

        sources = dict({fd: kind for kind, fd in self._pipes.items()})
        sources[self._frames.fileno()] = "frames"
        poll = select.poll()
        for fd in sources:
            poll.register(fd, select.POLLIN)
        while sources:
            if until is not None and until(self.events):
                return Ran(self.events, 0)
            ready = poll.poll(30_000)
            if not ready:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError("the process hangs; so far: %r" % self.events[-20:])
            # Frames first: what the program wrote before it started a child is before what the child wrote.
            for fd in sorted((fd for fd, _ in ready), key=lambda fd: sources[fd] != "frames"):
                kind = sources[fd]
                if kind == "frames":
                    data = self._frames.recv(1 << 20)
                else:
                    data = os.read(fd, 1 << 16)
                if not data:
                    poll.unregister(fd)
                    del sources[fd]
                    (self._frames.close() if kind == "frames" else os.close(fd))
                elif kind == "frames":
                    name, _, data = data.partition(b"\0")
                    self.events.append((name.decode(), data))
                else:
                    self.events.append((kind, data))
        return Ran(self.events, os.waitpid(self.pid, 0)[1])


def run(
    source: str, echo: bool = True, argv: List[str] = [], stdin: bytes = b"", filename: str = "<cell>"
) -> Ran:
    """Runs one cell in a fresh process."""

    def body(emit: Any, settle: Any) -> int:
        import casemate_cell

        data = source if isinstance(source, bytes) else source.encode("utf-8")
        code = casemate_cell.run(data, argv, echo, emit, None, filename, settle)
        casemate_cell.finish()
        return code

    return start(body, stdin).wait()
