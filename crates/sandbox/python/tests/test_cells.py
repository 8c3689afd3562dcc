"""R56: a cell of Python does what it does in Python, and in a notebook."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import cells
import support

support.load()
import casemate_cell  # noqa: E402

PACKAGES = ["numpy", "pandas", "matplotlib", "PIL", "IPython"]
HAVE = [name for name in PACKAGES if importlib.util.find_spec(name)]


def fits(expected, found):
    """Whether everything in `expected` is in `found`."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            key in found and fits(value, found[key]) for key, value in expected.items()
        )
    if isinstance(expected, tuple):
        return isinstance(found, str) and all(part in found for part in expected)
    return expected == found


def same(text):
    """`text` without how deep the stack was below the program, and the address of an object."""
    return re.sub(r"repeated \d+ more|0x[0-9a-f]+", "…", text)


class Cells(unittest.TestCase):
    """One test for each cell: made below."""

    maxDiff = 4000

    def check(self, cell):
        ran = support.run(
            cell["source"], not cell.get("script"), cell.get("argv", []), cell.get("stdin", "").encode()
        )
        self.assertEqual(ran.code, cell.get("code", 0), ran.both[-2000:])
        if "both" in cell:
            self.assertEqual(ran.both, cell["both"])
        elif "sorted_lines" in cell:
            self.assertEqual(sorted(ran.stdout.splitlines()), cell["sorted_lines"])
        else:
            self.assertEqual(ran.stdout, cell.get("stdout", ""))
        for part in cell.get("stderr_has", []):
            self.assertIn(part, ran.stderr)
        self.assertLessEqual(len(ran.stderr), cell.get("stderr_most", 20000))
        if "stderr_has" not in cell and "both" not in cell:
            self.assertEqual(ran.stderr, cell.get("stderr", ""))
        self.assertNotIn("casemate_cell", ran.stderr, "a frame of ours")
        expected = cell.get("results", [])
        self.assertEqual(len(ran.results), cell.get("count", len(expected)), ran.results)
        for wanted, found in zip(expected, ran.results):
            self.assertTrue(fits(wanted, found), "%r is not in %.2000r" % (wanted, found))
        if "last" in cell:
            self.assertTrue(fits(cell["last"], ran.results[-1]), ran.results[-1])


def _add(cell):
    def test(self):
        self.check(cell)

    test.__doc__ = "R56: " + cell["name"]
    missing = [name for name in cell.get("needs", []) if name not in HAVE]
    if missing:
        test = unittest.skip(
            "without %s: name a tree that has it in CASEMATE_TEST_SITE" % ", ".join(missing)
        )(test)
    if sys.version_info < cell.get("since", (3, 8)):
        test = unittest.skip("not in this Python")(test)
    name = "test_" + cell["name"]
    assert not hasattr(Cells, name), name
    setattr(Cells, name, test)


for _cell in cells.CELLS:
    _add(_cell)


class AsPython(unittest.TestCase):
    """The cells without results, against the interpreter itself."""

    def test_as_a_script(self):
        """R56: as a script, a cell writes and exits as the same file run by Python."""
        compared = 0
        # Not TemporaryDirectory: each process that is forked would clean it up at its end.
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "script.py")
        for cell in cells.CELLS:
            if (
                any(key in cell for key in ("needs", "sorted_lines", "both", "stderr_most"))
                or cell["name"] in NOT_AS_A_SCRIPT
            ):
                continue
            if sys.version_info < cell.get("since", (3, 8)):
                continue
            source = cell["source"] if isinstance(cell["source"], bytes) else cell["source"].encode("utf-8")
            with open(path, "wb") as file:
                file.write(source)
            given = cell.get("stdin", "").encode()
            # Unbuffered: what is written first comes first, as here.
            environment = dict(
                os.environ,
                PYTHONPATH=support.SITE or "",
                PYTHONIOENCODING="utf-8:surrogateescape",
                PYTHONUNBUFFERED="1",
            )
            plain = subprocess.run([sys.executable, path], input=given, stdout=-1, stderr=-1, env=environment)
            ran = support.run(source, False, [path], given, filename=path)
            with self.subTest(cell["name"]):
                self.assertEqual(ran.stdout, plain.stdout.decode("utf-8", "surrogateescape"))
                self.assertEqual(same(ran.stderr), same(plain.stderr.decode("utf-8", "surrogateescape")))
                if ran.code != 130:
                    self.assertEqual(ran.code, plain.returncode)
                compared += 1
        self.assertGreater(compared, 60)

    @unittest.skipUnless("IPython" in HAVE, "without IPython: name a tree that has it in CASEMATE_TEST_SITE")
    def test_as_a_notebook(self):
        """R56: the values of last expressions look as IPython shows them."""
        wanted = [
            cell
            for cell in cells.CELLS
            if isinstance(cell["source"], str)
            and not any(
                key in cell for key in ("script", "stdin", "argv", "code", "count", "sorted_lines", "both")
            )
            and cell["name"] not in NOT_AS_A_NOTEBOOK
            and all(entry.get("type") == "result" for entry in cell.get("results", [{}]))
            and len(cell.get("results", [])) == 1
        ]
        environment = dict(os.environ, PYTHONPATH=support.SITE or "", IPYTHONDIR=tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, environment["IPYTHONDIR"])
        sources = json.dumps([cell["source"] for cell in wanted])
        plain = subprocess.run(
            [sys.executable, "-c", NOTEBOOK], input=sources.encode(), stdout=-1, env=environment
        )
        theirs = json.loads(plain.stdout)
        for cell, data in zip(wanted, theirs):
            with self.subTest(cell["name"]):
                ours = support.run(cell["source"]).results[0]["data"]
                self.assertEqual(ours["text/plain"], data["text/plain"])
                self.assertEqual(set(ours) - {"text/html"}, set(data) - {"text/html"})
        self.assertGreater(len(wanted), 25)


# Runs cells in IPython, each in a shell of its own, and says what their values look like.
NOTEBOOK = """
import json, os, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
looks = []
for source in json.load(sys.stdin):
    read, write = os.pipe()
    if os.fork() == 0:
        shell = InteractiveShell.instance()
        with capture_output():
            result = shell.run_cell(source).result
        data = shell.display_formatter.format(result)[0]
        os.write(write, json.dumps({media: str(value) for media, value in data.items()}).encode())
        os._exit(0)
    os.close(write)
    looks.append(json.load(os.fdopen(read)))
    os.wait()
json.dump(looks, sys.stdout)
"""

# What is not a notebook's.
NOT_AS_A_NOTEBOOK = {
    # Without a kernel IPython shows a figure as text.
    "figure_as_value_is_shown_once",
    # IPython does without standard output as little as it can.
    "none_stdout",
    # There, a child goes on as a second notebook.
    "forked_child_ends",
    "forked_child_falls_through",
    # Its `__main__` and event loop are its own.
    "main",
    "asyncio_run",
    "docstring_is_a_value",
    # Results that the other side cannot send as text.
    "surrogate_in_result",
    "all_too_large",
    "too_large",
}


# What differs on purpose, or cannot be the same.
NOT_AS_A_SCRIPT = {
    # `display` is a builtin only here.
    "repr_png",
    "display_order",
    "display_id",
    "too_many",
    # C's own buffer is flushed in order here.
    "printf_of_c",
    # A traceback is not lost here.
    "deleted_stdout",
    # `os._exit` and a crash lose what is buffered for a pipe; here no line is.
    "segfault_after_print",
    "hard_exit_after_print",
    # A script's own path is an argument.
    "argv",
    # Python leaves the order of its own line to its buffers.
    "forked_child_ends",
    "forked_child_falls_through",
    # Before 3.13, Python's C code marks an error of several lines otherwise than its `traceback`.
    "async_for",
    # Bounded here.
    "huge_message_is_cut",
    "main",
    # These differ in words between versions, and in tests above.
    "message_that_raises",
    "wrapped_stdout",
    "not_utf8",
    "nul_byte",
}


def setUpModule():
    missing = [name for name in PACKAGES if name not in HAVE]
    if missing:
        sys.stderr.write("SKIPPED: cells that need %s (CASEMATE_TEST_SITE)\n" % ", ".join(missing))
    failed = casemate_cell.prepare(HAVE)
    assert not failed, failed


if __name__ == "__main__":
    unittest.main()
