"""Makes modules importable from text that is in memory, so that nothing of ours has to be a file in the sandbox."""

import sys
from importlib.machinery import ModuleSpec


class Sources:
    """Finds and loads modules whose source is in a dictionary."""

    def __init__(self, sources):
        self._sources = sources

    def find_spec(self, name, path=None, target=None):
        if name not in self._sources:
            return None
        return ModuleSpec(name, self, origin="<%s>" % name)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        code = compile(self._sources[module.__name__], "<%s>" % module.__name__, "exec", dont_inherit=True)
        exec(code, module.__dict__)

    def get_source(self, name):
        return self._sources[name]


def install(sources):
    """Makes every module in `sources` (name to text) importable; each is loaded when it is first imported."""
    sys.meta_path.insert(0, Sources(dict(sources)))
