"""Calls a function once after a certain module was imported, whoever imports it and whenever."""

import sys
from importlib.machinery import PathFinder
from typing import Any, Callable, Dict, Optional

Action = Callable[[Any], None]


class AfterImport:
    """A finder that finds nothing itself: it lets the usual one find and has the last word after the module ran."""

    def __init__(self) -> None:
        self._actions: Dict[str, Action] = {}

    def add(self, name: str, action: Action) -> None:
        """Calls `action(module)` after `name` is imported: now, if it already is."""
        module = sys.modules.get(name)
        if module is not None:
            _call(action, module)
        else:
            self._actions[name] = action

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[Any]:
        if name not in self._actions:
            return None
        spec = PathFinder.find_spec(name, path, target)
        loader = spec.loader if spec is not None else None
        if loader is None or not hasattr(loader, "exec_module"):
            return None
        action = self._actions.pop(name)
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            # On the instance, not in a loader of our own: packages look at the class of their loader.
            del loader.exec_module
            try:
                execute(module)
            except BaseException:
                self._actions[name] = action
                raise
            _call(action, module)

        loader.exec_module = exec_module
        return spec


def _call(action: Action, module: Any) -> None:
    try:
        action(module)
    except Exception:
        # Another version of that package than any we know: it is as it is without us, which beats no import.
        pass


_finder = AfterImport()


def after_import(name: str, action: Action) -> None:
    """Calls `action(module)` once after the module `name` was imported."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.add(name, action)
