"""Matplotlib's figures as results: a backend that draws with Agg and shows through `display`.

A figure is shown by `plt.show()` or when the cell ends, and closed with that, as in a notebook. It is not shown twice
the same: what was shown by `display` or as a last expression is shown at the end only if it has changed since.
"""

import hashlib
import io
import sys
import weakref
from typing import Any, Optional

NAME = "module://casemate_figures"

# The hashes of the pictures that this cell showed, by figure.
_shown: Any = weakref.WeakKeyDictionary()


def install(matplotlib: Any) -> None:
    """Makes this the backend, just after matplotlib was imported; what the program chooses later counts."""
    matplotlib.rcParams["backend"] = NAME
    if getattr(matplotlib, "__version_info__", (3, 0)) < (3, 6):
        # It takes the names out of the module's dictionary.
        _fill()


def __getattr__(name: str) -> Any:
    # Matplotlib's backends need numpy and take long to import: only when matplotlib asks for this one.
    if name in ("FigureCanvas", "FigureManager", "new_figure_manager", "new_figure_manager_given_figure"):
        _fill()
        return globals()[name]
    raise AttributeError("module %r has no attribute %r" % (__name__, name))


def _fill() -> None:
    from matplotlib.backend_bases import FigureManagerBase
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class FigureManager(FigureManagerBase):
        """The manager of a figure in a cell."""

        def show(self) -> None:
            display_figure(self.canvas.figure)

        @classmethod
        def pyplot_show(cls, *, block: Any = None) -> None:
            show_all()

    class FigureCanvas(FigureCanvasAgg):
        """A canvas that belongs to a cell."""

        manager_class = FigureManager

    def new_figure_manager(num: int, *arguments: Any, FigureClass: Any = Figure, **more: Any) -> Any:
        return new_figure_manager_given_figure(num, FigureClass(*arguments, **more))

    def new_figure_manager_given_figure(num: int, figure: Any) -> Any:
        return FigureManager(FigureCanvas(figure), num)

    for item in (FigureManager, FigureCanvas, new_figure_manager, new_figure_manager_given_figure):
        globals()[item.__name__] = item


def show(*arguments: Any, **more: Any) -> None:
    """What `plt.show()` calls."""
    show_all()


def show_all() -> None:
    """Shows every open figure of this backend, and closes it."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    canvas_class = globals().get("FigureCanvas")
    if helpers is None or canvas_class is None:
        return
    managers = [m for m in helpers.Gcf.get_all_fig_managers() if isinstance(m.canvas, canvas_class)]
    try:
        for manager in managers:
            display_figure(manager.canvas.figure)
    finally:
        for manager in managers:
            helpers.Gcf.destroy(manager)


def begin() -> None:
    """A new cell."""
    _shown.clear()


def display_figure(figure: Any) -> None:
    """Shows one figure, if it was not shown as it is."""
    from casemate_results import look, publish_display_data

    data, metadata = look(figure)
    if "image/png" in data:
        publish_display_data(data, metadata)


def show_once(figure: Any) -> Optional[bytes]:
    """The picture of a figure; none if the cell showed exactly this."""
    if not figure.axes and not figure.lines and not getattr(figure, "subfigs", None):
        # As in a notebook: a figure with nothing in it is no picture.
        return None
    picture = io.BytesIO()
    if figure.canvas is None:
        return None
    figure.canvas.print_figure(
        picture,
        format="png",
        facecolor=figure.get_facecolor(),
        edgecolor=figure.get_edgecolor(),
        dpi=figure.dpi,
        bbox_inches="tight",
    )
    data = picture.getvalue()
    digest = hashlib.sha256(data).digest()
    if _shown.get(figure) == digest:
        return None
    _shown[figure] = digest
    return data
