"""Rich results: what `display` and a cell's last expression give, one JSON object a line.

    {"type": "result", "data": {"text/plain": "2"}, "metadata": {}, "execution_count": 1}

`type` is `result` (the value of a last expression), `display`, `update` (an earlier `display_id` shown anew), `clear`
(forget what was shown, with `wait`: when the next comes) or `error` (`name`, `value`, `traceback` in place of `data`).
`data` is by media type: text as text, pictures in base64, JSON as JSON.

Objects say how they look by IPython's protocol (`_repr_html_` and the like), which works without IPython; where IPython
is loaded its own formatters are asked, so that what a program registered with them counts.
"""

import base64
import builtins
import json
import math
import sys
from typing import Any, Dict, List, Optional, Tuple

import casemate_streams as streams
from casemate_hooks import after_import

# The longest line of one result.
MAX_RESULT_BYTES = 8 * 1024 * 1024
# How many results one cell may give; one more says that there were more.
MAX_RESULTS = 256

Bundle = Tuple[Dict[str, Any], Dict[str, Any]]

# Media types by the method that makes them.
METHODS = (
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("application/pdf", "_repr_pdf_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("text/latex", "_repr_latex_"),
    ("application/json", "_repr_json_"),
    ("application/javascript", "_repr_javascript_"),
)


class Publisher:
    """Counts and bounds the results of the cell that runs."""

    def __init__(self) -> None:
        self.execution_count = 1
        self._sent = 0

    def begin(self, execution_count: int) -> None:
        """A new cell."""
        self.execution_count = execution_count
        self._sent = 0

    def bundle(self, kind: str, data: Dict[str, Any], metadata: Dict[str, Any], **more: Any) -> None:
        """Gives away what an object looks like."""
        if streams.forked:
            # The caller's results are those of the process that runs the cell.
            text = data.get("text/plain")
            if isinstance(text, str):
                print(text)
            return
        data = {str(media): _plain(value) for media, value in data.items() if value is not None}
        entry = dict(type=kind, data=data, metadata=metadata, execution_count=self.execution_count, **more)
        line = _line(entry)
        left_out = {}
        while len(line) > MAX_RESULT_BYTES and data:
            # The largest goes first: a picture that is too large still has its text.
            media = max(data, key=lambda media: len(_line(data[media])))
            left_out[media] = len(_line(data.pop(media)))
            notice = "[%s of %d bytes left out: a result may have %d]"
            text = "\n".join(notice % (media, size, MAX_RESULT_BYTES) for media, size in left_out.items())
            told = dict(data) if "text/plain" in data else dict(data, **{"text/plain": text})
            told_metadata = {media: metadata[media] for media in metadata if media in data}
            entry.update(data=told, metadata=dict(told_metadata, casemate={"left_out": left_out}))
            line = _line(entry)
        self._send(line)

    def error(self, name: str, value: str, traceback: List[str]) -> None:
        """Says how the cell failed."""
        # Always sent: the limits of its parts are those of the traceback.
        if not streams.forked:
            entry = dict(type="error", name=name, value=value, traceback=traceback)
            entry["execution_count"] = self.execution_count
            streams.output.result(_line(entry))

    def clear(self, wait: bool = False) -> None:
        """Asks to forget what was shown."""
        if not streams.forked:
            self._send(_line({"type": "clear", "wait": bool(wait), "execution_count": self.execution_count}))

    def _send(self, line: bytes) -> None:
        self._sent += 1
        if self._sent <= MAX_RESULTS:
            streams.output.result(line)
        elif self._sent == MAX_RESULTS + 1:
            text = "[a cell may give %d results: the rest are left out]" % MAX_RESULTS
            entry = {
                "type": "display",
                "data": {"text/plain": text},
                "metadata": {"casemate": {"left_out": "rest"}},
            }
            streams.output.result(_line(dict(entry, execution_count=self.execution_count)))


publisher = Publisher()


def _line(entry: Any) -> bytes:
    try:
        return _dump(entry)
    except (TypeError, ValueError, RecursionError):
        return _dump(_clean(entry))


def _dump(entry: Any) -> bytes:
    return (
        json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8") + b"\n"
    )


def _clean(value: Any, depth: int = 0) -> Any:
    """What JSON can hold of `value`: what it has no word for becomes null or its text."""
    if depth > 64:
        return None
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        # A lone surrogate has no place in UTF-8: the reader sees it as Python writes it.
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_clean(str(key)): _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, depth + 1) for item in value]
    return _clean(str(value))


def _plain(value: Any) -> Any:
    """The value of one media type as it is sent."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    return value


# What objects look like.


def look(value: Any, include: Any = None, exclude: Any = None) -> Bundle:
    """What `value` looks like: by media type, and what else there is to say. Nothing, if it showed itself."""
    formatters = sys.modules.get("IPython.core.formatters")
    if formatters is not None:
        data, metadata = _ipython(formatters).format(value, include=include, exclude=exclude)
        data, metadata = dict(data), dict(metadata)
    else:
        data, metadata = _by_protocol(value, include, exclude)
    for media in data:
        if media.startswith("image/") and isinstance(data[media], str):
            data[media] = data[media].strip() if media != "image/svg+xml" else data[media]
    return data, metadata


_formatter: Any = None


def _ipython(formatters: Any) -> Any:
    """IPython's formatter, without its shell: the shell brings threads, a history file and a profile."""
    global _formatter
    if _formatter is None:
        _formatter = formatters.DisplayFormatter()
        by_type = _formatter.formatters
        by_type["image/png"].for_type_by_name("matplotlib.figure", "Figure", _figure_png)
        for module in ("pandas.core.series", "pandas"):
            by_type["text/html"].for_type_by_name(module, "Series", _series_html)
    return _formatter


def _figure_png(figure: Any) -> Optional[bytes]:
    import casemate_figures

    return casemate_figures.show_once(figure)


def _series_html(series: Any) -> Optional[str]:
    return series.to_frame()._repr_html_()


def _is(value: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    kind = getattr(loaded, name, None) if loaded is not None else None
    return isinstance(kind, type) and isinstance(value, kind)


def _by_protocol(value: Any, include: Any, exclude: Any) -> Bundle:
    data: Dict[str, Any] = {}
    metadata: Dict[str, Any] = {}
    if _method(value, "_ipython_display_"):
        if _ask(lambda: (value._ipython_display_(), True)[1]):
            return {}, {}
    if _method(value, "_repr_mimebundle_"):
        bundle = _ask(lambda: value._repr_mimebundle_(include=include, exclude=exclude))
        if isinstance(bundle, tuple) and len(bundle) == 2:
            data, metadata = dict(bundle[0]), dict(bundle[1])
        elif isinstance(bundle, dict):
            data = dict(bundle)
    for media, name in METHODS:
        if media in data:
            continue
        answer = None
        if media == "image/png" and _is(value, "matplotlib.figure", "Figure"):
            answer = _ask(lambda: _figure_png(value))
        elif media == "text/html" and _is(value, "pandas", "Series"):
            answer = _ask(lambda: _series_html(value))
        elif _method(value, name):
            answer = _ask(getattr(value, name))
        if isinstance(answer, tuple) and len(answer) == 2:
            answer, metadata[media] = answer
        if answer is not None:
            data[media] = answer
    if "text/plain" not in data:
        text = _ask(lambda: repr(value))
        if text is not None:
            data["text/plain"] = text
    if include is not None:
        data = {media: data[media] for media in data if media in include}
    if exclude is not None:
        data = {media: data[media] for media in data if media not in exclude}
    return data, {media: metadata[media] for media in metadata if media in data}


def _method(value: Any, name: str) -> bool:
    """Whether `value` has this method: not for its instances only, and not because it has any."""
    if isinstance(value, type):
        return False
    try:
        if getattr(value, "_ipython_canary_method_should_not_exist_", None) is not None:
            return False
        return callable(getattr(value, name, None))
    except Exception:
        return False


def _ask(question: Any) -> Any:
    """What the object answers; if it raises, that is said, and the cell goes on, as in a notebook."""
    try:
        return question()
    except NotImplementedError:
        return None
    except Exception as error:
        import casemate_traces as traces

        streams.output.write("stderr", traces.text_of(error).encode("utf-8", "backslashreplace"))
        return None


# What programs call: the names, and their arguments, are IPython's.


class DisplayHandle:
    """Shows something else in the place of what was shown."""

    def __init__(self, display_id: Optional[str] = None) -> None:
        self.display_id = display_id or _new_id()

    def __repr__(self) -> str:
        return "<%s display_id=%s>" % (type(self).__name__, self.display_id)

    def display(self, value: Any, **more: Any) -> None:
        display(value, display_id=self.display_id, **more)

    def update(self, value: Any, **more: Any) -> None:
        display(value, display_id=self.display_id, update=True, **more)


def _new_id() -> str:
    import os

    return os.urandom(16).hex()


def display(
    *values: Any,
    include: Any = None,
    exclude: Any = None,
    metadata: Any = None,
    transient: Any = None,
    display_id: Any = None,
    raw: bool = False,
    clear: bool = False,
    update: bool = False,
    **more: Any,
) -> Optional[DisplayHandle]:
    """Shows objects in every form they have: text, HTML, pictures."""
    if clear:
        clear_output(wait=True)
    if update and display_id is None:
        raise TypeError("display_id required when updating display")
    if display_id is True:
        display_id = _new_id()
    transient = dict(transient or {})
    if display_id is not None:
        transient["display_id"] = display_id
    for value in values:
        data, about = (dict(value), {}) if raw else look(value, include, exclude)
        if not data:
            continue
        if metadata:
            about = dict(about, **metadata)
        publish_display_data(data, about, transient=transient, update=update)
    if display_id is None:
        return None
    ipython = sys.modules.get("IPython.core.display_functions")
    return getattr(ipython, "DisplayHandle", DisplayHandle)(display_id)


def publish_display_data(
    data: Any, metadata: Any = None, *, transient: Any = None, update: bool = False, **more: Any
) -> None:
    """Shows what is already a dictionary by media type."""
    extra = {"display_id": str(transient["display_id"])} if transient and "display_id" in transient else {}
    publisher.bundle("update" if update else "display", dict(data), dict(metadata or {}), **extra)


def clear_output(wait: bool = False) -> None:
    """Forgets what the cell showed: now, or when it shows the next."""
    publisher.clear(wait)


def show_result(value: Any) -> None:
    """Shows the value of a cell's last expression."""
    data, metadata = look(value)
    if data:
        publisher.bundle("result", data, metadata)


def _take_over(module: Any) -> None:
    for replacement in (display, publish_display_data, clear_output):
        there = getattr(module, replacement.__name__, None)
        if getattr(there, "__module__", None) == module.__name__:
            setattr(module, replacement.__name__, replacement)


def install() -> None:
    """Makes `display` a builtin, and IPython's functions lead here."""
    builtins.display = display  # type: ignore[attr-defined]
    # Where they are since IPython 7.23, and where they were before.
    after_import("IPython.core.display_functions", _take_over)
    after_import("IPython.core.display", _take_over)
    after_import("matplotlib", _figures)


def _figures(matplotlib: Any) -> None:
    import casemate_figures

    casemate_figures.install(matplotlib)
