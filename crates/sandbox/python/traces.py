"""Tracebacks as Python prints them, without the frames that are ours and with an end."""

import sys
import traceback
from types import TracebackType
from typing import Any, List, Optional, Tuple

# A deeper traceback loses its middle. Python's own limit of recursion stays below.
MAX_FRAMES = 2000
KEPT_FRAMES = 100
# The longest text of one traceback, and of one exception in an error result.
MAX_BYTES = 64 * 1024
MAX_VALUE_CHARS = 8 * 1024
# How many exceptions of a chain or group are looked at.
MAX_CHAIN = 100


def users(error: BaseException, filename: Optional[str] = None) -> Optional[TracebackType]:
    """The traceback of `error` from the first frame of the program to the last that is not ours."""
    first = trace = error.__traceback__
    while filename is not None and trace is not None and trace.tb_frame.f_code.co_filename != filename:
        trace = trace.tb_next
    if trace is None:
        # It was raised before the program's first line, or in code of it that is elsewhere.
        trace = first
        while trace is not None and _is_ours(trace):
            trace = trace.tb_next
    first = last = trace
    while trace is not None:
        last = last if _is_ours(trace) else trace
        trace = trace.tb_next
    if last is not None:
        # Where Python's own `print` is in C, ours is not.
        last.tb_next = None
    return first


def _is_ours(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith("casemate_")


def text_of(error: BaseException, filename: Optional[str] = None) -> str:
    """What Python prints for `error`."""
    return "".join(lines_of(error, filename))


def lines_of(error: BaseException, filename: Optional[str] = None) -> List[str]:
    """What Python prints for `error`, in parts that end with a line."""
    trace = users(error, filename)
    try:
        cut = _shorten(error, trace)
        report = (
            traceback.TracebackException(type(error), error, trace, compact=True)
            if _COMPACT
            else (traceback.TracebackException(type(error), error, trace))
        )
        lines = list(report.format())
        if cut:
            lines.append("[%d frames in the middle are left out]\n" % cut)
    except Exception as failure:
        # The exception's own `__str__` and attributes are the program's, and so may be anything.
        lines = ["%s: <%s while it was printed>\n" % (type(error).__name__, type(failure).__name__)]
    return _bounded(lines)


_COMPACT = sys.version_info >= (3, 10)


def _shorten(error: BaseException, trace: Optional[TracebackType]) -> int:
    """Cuts the middle out of deep tracebacks in the chain of `error`; how many frames that were."""
    cut = 0
    seen = set()
    waiting: List[Tuple[Optional[BaseException], Optional[TracebackType]]] = [(error, trace)]
    while waiting and len(seen) < MAX_CHAIN:
        current, frames = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        cut += _cut(frames)
        more = [current.__cause__, current.__context__]
        more.extend(getattr(current, "exceptions", ()) if hasattr(current, "subgroup") else ())
        waiting.extend((other, other.__traceback__) for other in more if other is not None)
    return cut


def _cut(trace: Optional[TracebackType]) -> int:
    frames = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    if len(frames) <= MAX_FRAMES:
        return 0
    frames[KEPT_FRAMES - 1].tb_next = frames[-KEPT_FRAMES]
    return len(frames) - 2 * KEPT_FRAMES


def _bounded(lines: List[str]) -> List[str]:
    """`lines`, or their beginning and end if they are too long."""
    total = sum(len(line) for line in lines)
    if total <= MAX_BYTES:
        return lines
    text = "".join(lines)
    half = MAX_BYTES // 2
    notice = "\n[%d characters in the middle are left out]\n" % (total - 2 * half)
    return (text[:half] + notice + text[-half:]).splitlines(True)


def name_of(error: BaseException) -> str:
    """The name of its class, as the last line of a traceback has it."""
    return type(error).__name__


def value_of(error: BaseException) -> str:
    """Its message, bounded."""
    try:
        text = str(error)
    except Exception as failure:
        text = "<%s while it was printed>" % type(failure).__name__
    if len(text) > MAX_VALUE_CHARS:
        text = "%s [%d characters left out]" % (text[:MAX_VALUE_CHARS], len(text) - MAX_VALUE_CHARS)
    return text


def remember(error: BaseException, trace: Any) -> None:
    """For `pdb.pm()` and its like."""
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    if sys.version_info >= (3, 12):
        sys.last_exc = error
