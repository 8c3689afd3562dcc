"""What must differ between two processes forked from one template, made to differ.

Called in the new process before anything else. It does not count on the process id: in its own pid namespace every call
has the same, so whatever looks at the id to find out that it was forked (OpenSSL's and Python's `tempfile`, `uuid`,
`multiprocessing`) does not notice.

What cannot change after the interpreter's start, and is the same in all calls of one session (never between sessions,
each of which starts an interpreter of its own): the seed of `hash(str)`, and where the kernel laid the memory.
"""

import gc
import os
import random
import sys
import time
from typing import Any

import casemate_template as template


def after_fork() -> None:
    """Makes this process differ from its siblings. Below a millisecond, also with numpy."""
    modules = sys.modules
    random.seed()
    for generator in template.generators:
        _seed(generator)
    for reset in template.resets:
        reset()
    for name, action in _ACTIONS:
        module = modules.get(name)
        if module is not None:
            try:
                action(module)
            except (AttributeError, TypeError, ValueError):
                # Another version of the module than any we know, without what we would have changed.
                pass
    gc.enable()


def _seed(generator: Any) -> None:
    try:
        generator.seed()
    except (AttributeError, TypeError, ValueError):
        # numpy's bit generators have no `seed`; their state is taken from a new one, seeded by the system.
        generator.state = type(generator)().state


def _numpy(numpy_random: Any) -> None:
    import numpy

    # Its whole state from the system: half the time of `seed()`, which takes 128 bits and spreads them.
    words = numpy.frombuffer(os.urandom(4 * 624), numpy.uint32)
    numpy_random.set_state(("MT19937", words, 624, 0, 0.0))


def _torch(torch: Any) -> None:
    torch.seed()


def _tempfile(tempfile: Any) -> None:
    tempfile._name_sequence = None
    # The call has its own TMPDIR.
    tempfile.tempdir = None


def _uuid(uuid: Any) -> None:
    # A random node, as the standard allows: the C library's generator keeps its own across the fork, out of our reach,
    # and the address of a network card, which it would take, is nobody's business.
    uuid._node = int.from_bytes(os.urandom(6), "big") | 1 << 40
    uuid._last_timestamp = None
    uuid._generate_time_safe = None


def _ssl(ssl: Any) -> None:
    # OpenSSL seeds anew where it sees another process id.
    ssl.RAND_add(os.urandom(32), 32.0)


def _processes(process: Any) -> None:
    import itertools

    current = process.current_process()
    current.authkey = os.urandom(32)
    current._config.pop("tempdir", None)
    process._process_counter = itertools.count(1)
    process._children = set()


def _semaphores(synchronize: Any) -> None:
    import tempfile

    synchronize.SemLock._rand = tempfile._RandomNameSequence()


def _logging(logging: Any) -> None:
    # The origin of `%(relativeCreated)d`; in nanoseconds since 3.13.
    logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()


def _threading(threading: Any) -> None:
    main = threading.main_thread()
    main._ident = threading.get_ident()
    if hasattr(main, "_native_id"):
        main._native_id = threading.get_native_id()


def _asyncio(events: Any) -> None:
    # A loop of the template's would be one epoll instance for all.
    events._event_loop_policy = None
    events._set_running_loop(None)


def _subprocess(subprocess: Any) -> None:
    subprocess._active[:] = []


_ACTIONS = (
    ("numpy.random", _numpy),
    ("torch", _torch),
    ("tempfile", _tempfile),
    ("uuid", _uuid),
    ("ssl", _ssl),
    ("multiprocessing.process", _processes),
    ("multiprocessing.synchronize", _semaphores),
    ("logging", _logging),
    ("threading", _threading),
    ("asyncio.events", _asyncio),
    ("subprocess", _subprocess),
)
