"""Compiles the Python sources that the file named first lists, each with a NUL after it.

Run as: compile.py LIST TREE SHOWN, where a sandbox sees TREE at SHOWN. A compiled file depends on the source and on these
words, not on the time: it is "unchecked", because nobody can change the source. What is no valid Python stays as it is.
"""

import os
import py_compile
import sys

listed, tree, shown = sys.argv[1:]
with open(listed, "rb") as lines:
    sources = [os.fsdecode(line) for line in lines.read().split(b"\0") if line]
for source in sources:
    try:
        py_compile.compile(
            os.path.join(tree, source),
            dfile=os.path.join(shown, source),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except py_compile.PyCompileError:
        pass
