"""Standard output and standard error of a cell: text streams whose bytes go to `emit`, in the order they were written.

Three writers share the caller's two streams: Python's `sys.stdout` and `sys.stderr` (here, through `emit`), child
processes and C code (through the pipes behind the descriptors 1 and 2). What keeps their order:

- Both text streams are line-buffered, and a write to one first flushes what the other still holds.
- Before a write, what is unread in the two pipes is waited for, so that a child's earlier output comes first.
- Before a child starts, both text streams are flushed and `settle` waits until the reader has our bytes.

Nothing is buffered here: bytes that a text stream gave away are with the reader, whatever the process does next.
"""

import io
import os
import stat
import sys
import threading
import time
from typing import Any, Callable, List, Optional, Tuple

try:
    import fcntl
    import termios

    FIONREAD = termios.FIONREAD
except ImportError:  # A Python built without them: the order with children is then left to chance.
    fcntl = None  # type: ignore[assignment]
    FIONREAD = 0

Emit = Callable[[str, bytes], None]

# The longest piece given to `emit` at once.
CHUNK_BYTES = 32 * 1024
# How long a write waits for unread output of children.
DRAIN_WAIT_S = 0.05
# How long it sleeps between two looks, after the first few.
DRAIN_NAP_S = 0.0002
# How often it only yields before it sleeps.
DRAIN_YIELDS = 8
# What threads may write between two cells of a context; it is given with the next cell.
BACKLOG_BYTES = 256 * 1024

# C's own buffer of standard output.
C_BUFFER_BYTES = 4096

# Events after which another process may write to our descriptors (see PEP 578).
SPAWNS = frozenset(
    ["subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "os.spawn"]
)

DESCRIPTORS = {"stdout": 1, "stderr": 2}


def unread(fd: int) -> int:
    """How many bytes wait in the pipe behind `fd`."""
    if fcntl is None:
        return 0
    answer = fcntl.ioctl(fd, FIONREAD, b"\0\0\0\0")
    return int.from_bytes(answer, sys.byteorder)


class Output:
    """Where everything goes that a cell writes. One exists in a process, and may outlive the cell."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        # Whether an interrupt is the running program's, and whether one waits until a write is complete.
        self.interruptible = False
        self.interrupted = False
        self.direct = False
        # Whether this process ever ran a cell: the template did not, and what it forks is no child of a cell.
        self.started = False
        self._emit: Optional[Emit] = None
        self._settle: Optional[Callable[[], None]] = None
        self._pipes: List[Tuple[int, Tuple[int, int]]] = []
        self._stuck = False
        self._own = {}  # type: dict
        self._texts: List[io.TextIOWrapper] = []
        self._backlog: List[Tuple[str, bytes]] = []
        self._backlog_bytes = 0
        self._backlog_lost = 0

    # Where to.

    def attach(self, emit: Emit, settle: Optional[Callable[[], None]] = None) -> None:
        """From now on bytes go to `emit`, first those that were written while there was none."""
        with self.lock:
            self.started = True
            self._emit = emit
            self._settle = settle
            # On a terminal the terminal keeps the order, and a program expects to talk to it.
            self.direct = os.isatty(1)
            self._pipes = []
            self._own = {}
            self._stuck = False
            for kind, fd in DESCRIPTORS.items():
                try:
                    status = os.fstat(fd)
                except OSError:
                    continue
                self._own[kind] = (status.st_dev, status.st_ino)
                if stat.S_ISFIFO(status.st_mode) and (status.st_dev, status.st_ino) not in [
                    p[1] for p in self._pipes
                ]:
                    self._pipes.append((fd, (status.st_dev, status.st_ino)))
            backlog, self._backlog = self._backlog, []
            lost, self._backlog_bytes, self._backlog_lost = self._backlog_lost, 0, 0
            for kind, data in backlog:
                self.write(kind, data)
            if lost:
                self.write("stderr", b"[%d bytes written between cells are left out]\n" % lost)

    def detach(self) -> None:
        """Keeps what is written from now on, up to a limit, for the next cell."""
        self.flush()
        with self.lock:
            self._emit = None
            self._settle = None

    def after_fork_in_child(self) -> None:
        """In a child that the cell forked: it writes to the descriptors, as any child does."""
        self.lock = threading.RLock()
        self.direct = True
        self.interrupted = False
        self._settle = None

    # What.

    def write(self, kind: str, data: bytes) -> None:
        """Gives `data` away, after everything that was written before it."""
        with self.lock:
            # Also what the stream itself holds: it may be a write to its `buffer`, after text without a newline.
            self._flush_texts()
            if self.direct or self._redirected(kind):
                _write_all(DESCRIPTORS[kind], data)
            elif self._emit is None:
                self._keep(kind, data)
            else:
                self._drain()
                for start in range(0, len(data), CHUNK_BYTES):
                    self._emit(kind, data[start : start + CHUNK_BYTES])
        self._raise_interrupt()

    def result(self, line: bytes) -> None:
        """Gives away one line of results, after what was written before it."""
        self.flush()
        with self.lock:
            if self._emit is not None:
                self._drain()
                for start in range(0, len(line), CHUNK_BYTES):
                    self._emit("results", line[start : start + CHUNK_BYTES])
        self._raise_interrupt()

    def flush(self) -> None:
        """Empties the buffers of the text streams and of C."""
        self._flush_texts()
        if unflushed_c():
            self._wait_for_reader()
            flush_c()

    def before_child(self) -> None:
        """Before another process may write: what was written here must be ahead of it."""
        self.flush()
        self._wait_for_reader()

    def streams(self) -> Tuple[io.TextIOWrapper, io.TextIOWrapper]:
        """New text streams for `sys.stdout` and `sys.stderr`."""
        texts = []
        # The error handlers are those of Python in the C locale: no file name makes `print` fail.
        for kind, errors in (("stdout", "surrogateescape"), ("stderr", "backslashreplace")):
            text = Text(Binary(self, kind), encoding="utf-8", errors=errors, line_buffering=True)
            text.mode = "w"  # type: ignore[misc]
            texts.append(text)
        texts[0].other, texts[1].other = texts[1], texts[0]
        self._texts = texts
        return texts[0], texts[1]

    # How.

    def _flush_texts(self) -> None:
        for text in self._texts:
            if not text.closed:
                text.flush()

    def _wait_for_reader(self) -> None:
        settle = self._settle
        if settle is not None and not self.direct:
            settle()

    def _redirected(self, kind: str) -> bool:
        """Whether the program put something else behind the descriptor: it wants its output there."""
        own = self._own.get(kind)
        if own is None:
            return False
        try:
            status = os.fstat(DESCRIPTORS[kind])
        except OSError:
            return False
        return (status.st_dev, status.st_ino) != own

    def _drain(self) -> None:
        """Waits until the reader has read what children and C code wrote before."""
        if unflushed_c():
            self._wait_for_reader()
            flush_c()
        if not self._unread():
            self._stuck = False
            return
        if self._stuck:
            # The reader did not come the last time; it has the time it takes, but not once for every line.
            return
        end = time.monotonic() + DRAIN_WAIT_S
        for turn in range(1 << 30):
            if turn < DRAIN_YIELDS:
                os.sched_yield()
            else:
                time.sleep(DRAIN_NAP_S)
            if not self._unread():
                return
            if self.interrupted or time.monotonic() > end:
                self._stuck = True
                return

    def _unread(self) -> bool:
        for fd, _ in self._pipes:
            try:
                if unread(fd):
                    status = os.fstat(fd)
                    # Not what the program put there since: of a file that would be its size.
                    if any((status.st_dev, status.st_ino) == own for _, own in self._pipes):
                        return True
            except OSError:
                continue
        return False

    def _keep(self, kind: str, data: bytes) -> None:
        if self._backlog_bytes + len(data) > BACKLOG_BYTES:
            self._backlog_lost += len(data)
            return
        self._backlog.append((kind, data))
        self._backlog_bytes += len(data)

    def _raise_interrupt(self) -> None:
        # A signal came while bytes were being given away: half a frame would have ended the connection.
        if (
            self.interrupted
            and self.interruptible
            and threading.current_thread() is threading.main_thread()
            and not self.lock._is_owned()
        ):
            self.interrupted = False
            raise KeyboardInterrupt


class Text(io.TextIOWrapper):
    """One of the two text streams."""

    # The other one, until this one is written to; and then nobody, until the other one is.
    other: Optional["Text"] = None

    def write(self, text: str) -> int:
        other = self.other
        if other is not None:
            self.other = None
            other.other = self
            if not other.closed:
                other.flush()
        return super().write(text)


class Binary(io.BufferedIOBase):
    """What `sys.stdout.buffer` is: unbuffered bytes, in line with the text."""

    mode = "wb"

    def __init__(self, output: Output, kind: str) -> None:
        self._output = output
        self._kind = kind
        self.name = "<%s>" % kind

    @property
    def raw(self) -> "Binary":
        return self

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return DESCRIPTORS[self._kind]

    def isatty(self) -> bool:
        return self._output.direct and os.isatty(DESCRIPTORS[self._kind])

    def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        data = bytes(memoryview(data))
        if data:
            self._output.write(self._kind, data)
        return len(data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


_c: Any = None
_c_buffer: List[Any] = []


def unflushed_c() -> bool:
    """Whether C's own buffer of standard output holds anything, if that can be told without loading anything."""
    if _c is None and not _find_c():
        return False
    return _c[0](_c[2]) > 0


def flush_c() -> None:
    """Empties C's own buffer of standard output.

    Only that one buffer: flushing all would wait for a thread that reads C's standard input.
    """
    if unflushed_c():
        _c[1](_c[2])


def _find_c() -> bool:
    global _c
    ctypes = sys.modules.get("ctypes")
    if ctypes is None:
        return False
    try:
        libc = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(libc, "stdout")
        # Nothing is in it yet. Unbuffered, as `PYTHONUNBUFFERED` makes it, it would write past us.
        libc.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
        if not os.isatty(1):
            # The buffer is ours, for the one byte of an unbuffered stream would stay in use; it lives as long as C does.
            _c_buffer.append(ctypes.create_string_buffer(C_BUFFER_BYTES))
            libc.setvbuf(stdout, _c_buffer[0], 0, C_BUFFER_BYTES)
        # That of PyDLL keeps the interpreter's lock, which costs more than looking at one number.
        pending, fflush = ctypes.PyDLL(None).__fpending, libc.fflush
        pending.argtypes, pending.restype, fflush.argtypes = (
            [ctypes.c_void_p],
            ctypes.c_size_t,
            [ctypes.c_void_p],
        )
        _c = (pending, fflush, stdout)
    except (AttributeError, ImportError, OSError, TypeError, ValueError):
        # Another C library: it is left to its own.
        _c = (lambda stream: 0, None, None)
    return True


def open_stdin() -> io.TextIOWrapper:
    """A text stream over the descriptor 0 as it is now, with nothing read ahead from what it was before."""
    raw = io.FileIO(0, "rb", closefd=False)
    text = io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8", errors="surrogateescape")
    text.mode = "r"  # type: ignore[misc]
    return text


output = Output()

_watching = False


def watch_children() -> None:
    """From now on [`Output.before_child`] is called before another process may write."""
    global _watching
    if _watching:
        return
    _watching = True

    def hear(event: str, arguments: Any) -> None:
        if event in SPAWNS:
            try:
                output.before_child()
            except (OSError, ValueError):
                # A reader that went away is no reason not to start a child.
                pass

    sys.addaudithook(hear)
    os.register_at_fork(after_in_child=_forked)


# Whether this process is a child that a cell forked, and not the one that runs the cell.
forked = False


def _forked() -> None:
    global forked
    if output.started:
        forked = True
        output.after_fork_in_child()


# What the kernel says waits in a socket's peer: SIOCOUTQ.
SIOCOUTQ = 0x5411


def wait_until_read(fd: int) -> None:
    """A `settle` for a Unix socket: waits, not for ever, until its other end has read everything."""
    if fcntl is None:
        return
    end = time.monotonic() + DRAIN_WAIT_S
    turn = 0
    while time.monotonic() < end:
        answer = fcntl.ioctl(fd, SIOCOUTQ, b"\0\0\0\0")
        if int.from_bytes(answer, sys.byteorder) == 0:
            return
        turn += 1
        if turn < DRAIN_YIELDS:
            os.sched_yield()
        else:
            time.sleep(DRAIN_NAP_S)
