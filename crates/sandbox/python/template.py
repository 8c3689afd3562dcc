"""Prepares the interpreter from which all calls of a session are forked: what can be loaded once is loaded here.

The template never runs a program's code. Whatever is left in it is in every call: so no thread, no unflushed buffer, no
open file, and a list of all random generators, which `casemate_forked.after_fork` seeds anew.
"""

import gc
import importlib
import os
import random
import sys
import time
from typing import Any, Callable, List

import casemate_results as results
import casemate_streams as streams

# How long threads that an import started have to end.
THREADS_WAIT_S = 2.0

# Random generators that imports left behind, unless they were seeded on purpose.
generators: List[Any] = []
# What else makes a library's own generator start anew, to be called after a fork.
resets: List[Callable[[], Any]] = []


def prepare(preload: List[str]) -> List[str]:
    """Imports the modules `preload` and warms what calls use; returns the names that cannot be imported."""
    gc.disable()
    streams.watch_children()
    results.install()
    seeded: List[Any] = []
    original = random.Random.seed

    def seed(self: Any, a: Any = None, *more: Any, **others: Any) -> None:
        if a is not None:
            seeded.append(self)
        original(self, a, *more, **others)

    random.Random.seed = seed  # type: ignore[method-assign]
    failed = []
    try:
        for name in preload:
            # Anything may come of importing a package, also that it wants to exit.
            try:
                importlib.import_module(name)
            except BaseException:
                failed.append(name)
    finally:
        random.Random.seed = original  # type: ignore[method-assign]
    for warm in (
        _warm_python,
        _warm_ctypes,
        _warm_ssl,
        _warm_sqlite,
        _warm_numpy,
        _warm_pandas,
        _warm_matplotlib,
        _warm_ipython,
    ):
        try:
            warm()
        except BaseException:
            # What cannot be warmed is as slow, or as broken, in a call as without us.
            pass
    _wait_for_threads()
    _flush()
    gc.collect()
    _find_generators(seeded)
    gc.collect()
    gc.freeze()
    return failed


def threads() -> int:
    """How many threads this process has, also those that Python does not know."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


def _wait_for_threads() -> None:
    end = time.monotonic() + THREADS_WAIT_S
    while threads() > 1 and time.monotonic() < end:
        time.sleep(0.005)


def _flush() -> None:
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        try:
            getattr(sys, name).flush()
        except (AttributeError, OSError, ValueError):
            pass
    streams.flush_c()


def _find_generators(seeded: List[Any]) -> None:
    """Remembers the random generators there are: unseeded ones would give the same numbers in every call."""
    kinds: List[Any] = [random.Random]
    numpy_random = sys.modules.get("numpy.random")
    for name in ("BitGenerator", "RandomState"):
        kind = getattr(numpy_random, name, None)
        if kind is not None:
            kinds.append(kind)
    wanted = tuple(kinds)
    on_purpose = {id(one) for one in seeded}
    generators.clear()
    # `random` and numpy's own are always seeded anew.
    known = {id(random._inst)}  # type: ignore[attr-defined]
    of_numpy = getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)
    # By `type`, not `isinstance`: a proxy would be asked for its class, and may do anything.
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), wanted)]
    for thing in [of_numpy] + found:
        if hasattr(thing, "_bit_generator"):
            # Seeded with what uses it.
            known.add(id(thing._bit_generator))
    for thing in found:
        if id(thing) in known or id(thing) in on_purpose or thing is of_numpy:
            continue
        if not issubclass(type(thing), random.SystemRandom) and not _seeded(thing):
            generators.append(thing)


def _seeded(generator: Any) -> bool:
    """Whether numpy knows that this bit generator got its seed from somebody, and not from the system."""
    sequence = getattr(generator, "seed_seq", None) or getattr(generator, "_seed_seq", None)
    entropy = getattr(sequence, "entropy", None)
    # From the system it is a number of 128 bits.
    return entropy is not None and not (isinstance(entropy, int) and entropy >= 1 << 64)


# Warming: the first use of a thing loads modules and fills caches, which is then not done in every call.


def _warm_python() -> None:
    import ast
    import base64
    import json
    import linecache
    import traceback

    import casemate_cell  # noqa: F401
    import casemate_traces as traces

    for codec in ("utf-8", "ascii", "latin-1", "utf-16", "utf-8-sig"):
        "a".encode(codec).decode(codec)
    base64.b64encode(b"a")
    json.loads(json.dumps({"a": [1, 2.5, None, "b"]}))
    linecache.checkcache()
    tree = ast.parse("def f(x):\n    return [y for y in x]\nf([1])")
    namespace = {"__name__": "__main__"}
    exec(compile(tree, "<warm>", "exec"), namespace)
    try:
        exec(compile("1 / 0", "<warm>", "exec"), namespace)
    except ZeroDivisionError as error:
        traces.text_of(error)
    traceback.format_stack()


def _warm_ctypes() -> None:
    # Only where it is loaded anyway: see `flush_c`.
    streams.flush_c()


def _warm_ssl() -> None:
    ssl = sys.modules.get("ssl")
    if ssl is not None:
        # Its generator takes nearly a millisecond to start; then seeding it anew takes a tenth.
        ssl.RAND_bytes(1)


def _warm_sqlite() -> None:
    library = sys.modules.get("_sqlite3")
    if library is None:
        return
    import ctypes

    # SQLite looks at the process id too, and only when it opens a file. This makes it ask the system at the next use.
    randomness = ctypes.CDLL(getattr(library, "__file__", None)).sqlite3_randomness
    randomness.argtypes = [ctypes.c_int, ctypes.c_void_p]
    resets.append(lambda: randomness(0, None))


def _warm_numpy() -> None:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return
    # numpy 2 loads these when they are first named.
    for name in ("numpy.random", "numpy.linalg", "numpy.fft"):
        importlib.import_module(name)
    repr(numpy.arange(3.0))
    numpy.dot(numpy.ones((8, 8)), numpy.ones((8, 8)))
    numpy.random.default_rng()


def _warm_pandas() -> None:
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return
    import io

    frame = pandas.read_csv(io.StringIO("a,b,c\n1,2.5,x\n2,3.5,y\n"))
    repr(frame)
    frame._repr_html_()
    repr(frame["a"])
    repr(frame.groupby("c")["a"].sum())
    repr(frame.describe())
    frame["a"].to_frame()._repr_html_()


def _warm_matplotlib() -> None:
    if "matplotlib" not in sys.modules:
        return
    import io

    importlib.import_module("matplotlib.pyplot")
    import casemate_figures
    from matplotlib import font_manager
    from matplotlib.figure import Figure

    # Not one of pyplot's: those are numbered, and a call's first figure is number 1.
    figure = Figure()
    casemate_figures.FigureCanvas(figure)
    axes = figure.subplots()
    axes.plot([1, 2], [1, 2], label="a")
    axes.set_title("a")
    axes.legend()
    figure.canvas.print_figure(io.BytesIO(), format="png", bbox_inches="tight")
    # A font in the cache has its file open, and all that we fork would share where in it they read.
    clear = getattr(getattr(font_manager, "_get_font", None), "cache_clear", None)
    if clear is not None:
        clear()


def _warm_ipython() -> None:
    if "IPython" not in sys.modules:
        return
    importlib.import_module("IPython.display")
    results.look({"a": [1, 2]})
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        results.look(pandas.DataFrame({"a": [1]}))
