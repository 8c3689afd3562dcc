"""Runs cells of Python as users know it: as a script does, or as a notebook does with the last expression's value.

The zygote (`warm.py`) calls, in this order: `prepare` once in the template; then in each process forked from it
`after_fork` and, while there is nothing else to do, `ready`; then either `run` and `finish` once, or `Kernel.run_cell` as often as wanted and `finish`; then `os._exit`.

`emit(kind, data)` takes bytes of `stdout`, `stderr` and `results`, at most `casemate_streams.CHUNK_BYTES` at once; a
line of results may come in several pieces. `settle()`, if given, returns when the reader has read all that was emitted.

Differences from a notebook: no magics (`%`, `!`: Python's own SyntaxError); `exit()` ends the cell with that code and
not the interpreter; `asyncio.run` works, for no event loop runs around a cell, and tasks go on only while a cell that
awaits runs.
"""

import ast
import builtins
import linecache
import os
import signal
import sys
import threading
import time
from types import CodeType, FrameType, ModuleType
from typing import Any, Callable, Dict, List, Optional, Tuple

import casemate_results as results
import casemate_streams as streams
import casemate_traces as traces
from casemate_forked import after_fork
from casemate_template import prepare

__all__ = ["Kernel", "after_fork", "finish", "prepare", "ready", "run"]

# How many bytes of source, and of how many cells, a context keeps for tracebacks.
KEPT_SOURCES = 1000
KEPT_SOURCE_BYTES = 16 * 1024 * 1024
# How long a cancelled task has to end.
CANCEL_WAIT_S = 1.0

# Of a code object that awaits, as in `inspect`, which takes long to import.
CO_COROUTINE = 0x80

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130

BOM = b"\xef\xbb\xbf"

Emit = streams.Emit
Settle = Optional[Callable[[], None]]

FUTURES = 0
for _name in __import__("__future__").all_feature_names:
    FUTURES |= getattr(__import__("__future__"), _name).compiler_flag


def run(
    source: bytes,
    argv: List[str],
    echo: bool,
    emit: Emit,
    namespace: Optional[Dict[str, Any]] = None,
    filename: str = "<cell>",
    settle: Settle = None,
) -> int:
    """Runs `source` as `__main__` and returns its exit code.

    `namespace` holds names that `__main__` has from the start. A `filename` that is not of the form `<…>` is that of a
    script: `__file__` is set and its directory is the first on `sys.path`; else that is the working directory.
    """
    module = _main_module(filename)
    if namespace:
        module.__dict__.update(namespace)
    cell = _Cell(module, filename, echo, 0)
    results.publisher.begin(1)
    return _execute(cell, source, argv, emit, settle)


def ready() -> None:
    """Runs a cell to nowhere, in a process that waits for its call.

    Memory that is first touched after a fork has to be copied or mapped, a millisecond or two for a cell that does
    nothing. This does it before the call comes, for what every cell touches.
    """
    run(b"print(1)\n[1, 'a']", [], True, lambda kind, data: None)


class Kernel:
    """A context: the namespace in which cells run one after the other."""

    def __init__(self) -> None:
        self.module = _main_module("<cell>")
        self.execution_count = 0
        self._flags = 0
        self._last: Dict[str, Any] = {}
        self._loop: Any = None
        self._sources: List[Tuple[str, int]] = []

    @property
    def namespace(self) -> Dict[str, Any]:
        """The variables of the context."""
        return self.module.__dict__

    def run_cell(
        self, source: bytes, argv: List[str], emit: Emit, echo: bool = True, settle: Settle = None
    ) -> int:
        """Runs one cell and returns its exit code; whatever happens in it, the next one can run."""
        self.execution_count += 1
        filename = "<cell %d>" % self.execution_count
        cell = _Cell(self.module, filename, echo, self._flags)
        cell.kernel = self
        cell.loop = self._loop
        results.publisher.begin(self.execution_count)
        self._forget(filename, len(source))
        code = _execute(cell, source, argv, emit, settle)
        self._flags, self._loop = cell.flags, cell.loop
        streams.output.detach()
        return code

    def keep(self, value: Any) -> None:
        """`_`, `__` and `___` are the last results, unless the program uses the names itself."""
        names = self.namespace
        if any(name in names and names[name] is not self._last.get(name) for name in ("_", "__", "___")):
            return
        self._last = {"___": self._last.get("__", ""), "__": self._last.get("_", ""), "_": value}
        names.update(self._last)

    def _forget(self, filename: str, size: int) -> None:
        self._sources.append((filename, size))
        total = sum(kept for _, kept in self._sources)
        while len(self._sources) > KEPT_SOURCES or (total > KEPT_SOURCE_BYTES and len(self._sources) > 1):
            oldest, kept = self._sources.pop(0)
            total -= kept
            linecache.cache.pop(oldest, None)


class _Cell:
    """One execution."""

    def __init__(self, module: ModuleType, filename: str, echo: bool, flags: int) -> None:
        self.module = module
        self.filename = filename
        self.echo = echo
        self.flags = flags
        self.kernel: Optional[Kernel] = None
        self.loop: Any = None

    def compile(self, source: bytes) -> Tuple[Optional[CodeType], Optional[CodeType], bool]:
        """The statements, the last expression if its value is wanted, and whether that is shown."""
        if not self.echo:
            return self._code(source, "exec", self.flags), None, False
        flags = self.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(source, self.filename, "exec", flags | ast.PyCF_ONLY_AST, True)
        last = tree.body[-1] if tree.body else None
        if not isinstance(last, ast.Expr):
            return self._code(tree, "exec", flags), None, False
        tree.body.pop()
        body = self._code(tree, "exec", flags)
        # A `from __future__` in the statements counts for the expression too.
        flags |= body.co_flags & FUTURES
        value = self._code(ast.Expression(last.value), "eval", flags)
        return body, value, not _is_silenced(source, last)

    def _code(self, program: Any, mode: str, flags: int) -> CodeType:
        code = compile(program, self.filename, mode, flags, True)
        self.flags |= code.co_flags & FUTURES
        return code

    def evaluate(self, body: Optional[CodeType], value: Optional[CodeType]) -> Any:
        """Runs the statements and gives the value of the last expression; in an event loop if either awaits."""
        names = self.module.__dict__
        if not any(code is not None and code.co_flags & CO_COROUTINE for code in (body, value)):
            if body is not None:
                exec(body, names)
            return eval(value, names) if value is not None else None
        import asyncio

        async def whole() -> Any:
            result = None
            for code in (body, value):
                if code is not None:
                    result = eval(code, names)
                    if code.co_flags & CO_COROUTINE:
                        result = await result
            return result if value is not None else None

        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        task = self.loop.create_task(whole())
        try:
            return self.loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit):
            self._cancel([task])
            raise

    def _cancel(self, tasks: List[Any]) -> None:
        import asyncio

        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_WAIT_S))

    def close(self) -> None:
        """Ends the tasks that still run, as `asyncio.run` does."""
        if self.loop is None or self.loop.is_closed():
            return
        import asyncio

        self._cancel([task for task in asyncio.all_tasks(self.loop) if not task.done()])
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        asyncio.set_event_loop(None)


def _execute(cell: _Cell, source: bytes, argv: List[str], emit: Emit, settle: Settle) -> int:
    output = streams.output
    streams.watch_children()
    results.install()
    _install_streams(emit, settle)
    sys.modules["__main__"] = cell.module
    sys.argv = list(argv) or [""]
    _set_path(cell.filename)
    time.tzset()
    _remember_source(cell.filename, source)
    _catch_interrupts()
    code = _guarded(cell, lambda: _body(cell, source))
    if not streams.forked:
        if cell.kernel is None:
            code = _guarded(cell, cell.close) or code
        code = _guarded(cell, _show_figures) or code
    if streams.forked:
        # A child that the cell forked came here; the caller waits for its parent only.
        finish()
        os._exit(code)
    _flush_streams()
    output.flush()
    return code


def _body(cell: _Cell, source: bytes) -> None:
    body, value, shown = cell.compile(source)
    result = cell.evaluate(body, value)
    if result is None or not shown:
        return
    if sys.displayhook is not sys.__displayhook__:
        sys.displayhook(result)
    else:
        results.show_result(result)
    if cell.kernel is not None:
        cell.kernel.keep(result)


def _guarded(cell: _Cell, action: Callable[[], Any]) -> int:
    """The exit code of `action`: whatever it raises is reported as Python reports it."""
    output = streams.output
    try:
        try:
            output.interruptible = True
            action()
            return 0
        finally:
            # Still inside: an interrupt that comes here is the program's, and from here on there is none.
            output.interruptible = False
    except SystemExit as exit:
        return _exit_code(exit)
    except BaseException as error:
        return _report(cell, error)


def _exit_code(exit: SystemExit) -> int:
    code = exit.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    try:
        text = str(code)
    except Exception:
        text = ""
    streams.output.write("stderr", (text + "\n").encode("utf-8", "backslashreplace"))
    return EXIT_ERROR


def _report(cell: _Cell, error: BaseException) -> int:
    interrupted = isinstance(error, KeyboardInterrupt)
    trace = traces.users(error, cell.filename)
    traces.remember(error, trace)
    if sys.excepthook is not sys.__excepthook__ and not streams.forked:
        try:
            sys.excepthook(type(error), error, trace)
            lines = traces.lines_of(error, cell.filename)
        except Exception:
            lines = _write_traceback(cell, error)
    else:
        lines = _write_traceback(cell, error)
    results.publisher.error(traces.name_of(error), traces.value_of(error), lines)
    return EXIT_INTERRUPTED if interrupted else EXIT_ERROR


def _write_traceback(cell: _Cell, error: BaseException) -> List[str]:
    lines = traces.lines_of(error, cell.filename)
    # Not to `sys.stderr`: that is whatever the program made of it.
    streams.output.flush()
    streams.output.write("stderr", "".join(lines).encode("utf-8", "backslashreplace"))
    return lines


def _show_figures() -> None:
    figures = sys.modules.get("casemate_figures")
    if figures is not None:
        try:
            figures.show_all()
        finally:
            figures.begin()


def finish() -> None:
    """What an interpreter does at its end: waits for threads, calls the `atexit` handlers, empties buffers."""
    import atexit

    for name in ("stdout", "stderr"):
        # Handlers that write find something, whatever the program deleted.
        if not hasattr(sys, name):
            setattr(sys, name, getattr(sys, "__%s__" % name))
    # The order is Python's own.
    try:
        try:
            streams.output.interruptible = True
            threading._shutdown()  # type: ignore[attr-defined]
        finally:
            streams.output.interruptible = False
    except BaseException as error:
        # An interrupt, while it waited for a thread.
        streams.output.write("stderr", traces.text_of(error).encode("utf-8", "backslashreplace"))
    try:
        atexit._run_exitfuncs()
    except BaseException:
        # It has reported what a handler raised.
        pass
    _flush_streams()
    try:
        streams.output.flush()
    except (OSError, ValueError):
        pass


# The surroundings of a cell.


def _main_module(filename: str) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    if not filename.startswith("<"):
        module.__file__ = filename
    builtins.exit = builtins.quit = _Quit()  # type: ignore[assignment]
    return module


class _Quit:
    """`exit()` as the interactive one is, but it leaves standard input open for the next cell."""

    def __repr__(self) -> str:
        return "Use exit() or quit() to end the cell"

    def __call__(self, code: Any = None) -> None:
        raise SystemExit(code)


def _set_path(filename: str) -> None:
    first = "" if filename.startswith("<") else os.path.dirname(os.path.abspath(filename))
    if first not in sys.path:
        sys.path.insert(0, first)


def _install_streams(emit: Emit, settle: Settle) -> None:
    output = streams.output
    # New for each cell: an earlier one may have closed, replaced or detached them.
    stdout, stderr = output.streams()
    output.attach(emit, settle)
    sys.stdout = sys.__stdout__ = stdout  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = stderr  # type: ignore[misc]
    try:
        sys.stdin = sys.__stdin__ = streams.open_stdin()  # type: ignore[misc]
    except OSError:
        # Closed, as for a process that was started so.
        sys.stdin = sys.__stdin__ = None  # type: ignore[assignment,misc]


def _flush_streams() -> None:
    """What the program put in the place of our streams is its own to flush, but at an end Python does it."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except BaseException:
            # Gone, closed, or not a stream at all.
            pass


def _remember_source(filename: str, source: bytes) -> None:
    """For tracebacks and `inspect.getsource`."""
    # Each line with its end, as it comes from a file: `traceback` counts columns from there.
    lines = [line + "\n" for line in _decoded(source).split("\n")]
    # Without a time of modification it is never looked for in the file system.
    linecache.cache[filename] = (len(source), None, lines, filename)


def _decoded(source: bytes) -> str:
    if b"coding" not in source and b"\r" not in source and not source.startswith(BOM):
        # As nearly all is: what follows comes to the same.
        return source.decode("utf-8", "replace")
    import io
    import tokenize

    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding, "replace")
    except (LookupError, SyntaxError):
        text = source.decode("utf-8", "replace")
    return io.IncrementalNewlineDecoder(None, True).decode(text, True)


def _is_silenced(source: bytes, last: ast.Expr) -> bool:
    """Whether a `;` follows the last expression."""
    # Columns count bytes of UTF-8, whatever the source is written in.
    lines = _decoded(source).split("\n")[last.end_lineno - 1 :]  # type: ignore[operator]
    lines[:1] = [
        line.encode("utf-8", "replace")[last.end_col_offset :].decode("utf-8", "replace")
        for line in lines[:1]
    ]
    # After it only brackets, blanks and comments can be, no string that a `#` or `;` could be in.
    return any(";" in line.split("#", 1)[0] for line in lines)


def _catch_interrupts() -> None:
    """Makes SIGINT raise KeyboardInterrupt in the program, but never while bytes are being given away."""
    output = streams.output
    output.interrupted = False

    def interrupt(number: int, frame: Optional[FrameType]) -> None:
        if not output.interruptible:
            return
        if output.lock._is_owned():  # type: ignore[attr-defined]
            output.interrupted = True
        else:
            raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        # It stays when the cell has ended, and does nothing then. Ignoring the signal would be inherited by children.
        signal.signal(signal.SIGINT, interrupt)
