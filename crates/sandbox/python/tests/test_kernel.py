"""Contexts: cells one after the other in one namespace."""

import os
import signal
import threading
import time
import unittest

import support

support.load()
import casemate_cell  # noqa: E402


def setUpModule():
    packages = [name for name in ("matplotlib", "IPython") if support.importable(name)]
    assert not casemate_cell.prepare(packages)


def cells(*sources, before=None):
    """Runs cells in one context: what came of all, and their exit codes."""

    def body(emit, settle):
        kernel = casemate_cell.Kernel()
        for source in sources:
            code = kernel.run_cell(source.encode(), ["a"], emit, settle=settle)
            emit("codes", b"%d " % code)
        casemate_cell.finish()
        return 0

    ran = support.start(body).wait()
    return ran, [int(code) for code in ran.text("codes").split()]


def plain(ran):
    return [entry["data"]["text/plain"] for entry in ran.results if "data" in entry]


class Context(unittest.TestCase):
    def test_names_persist(self):
        """R56: variables, functions, classes and imports stay."""
        ran, codes = cells(
            "x = 1\nimport math\ndef f(): return x\nclass A: pass",
            "x += 1\nf(), math.floor(1.5)",
            "import pickle\ntype(pickle.loads(pickle.dumps(A()))) is A",
        )
        self.assertEqual((plain(ran), codes), (["(2, 1)", "True"], [0, 0, 0]))
        self.assertEqual([entry["execution_count"] for entry in ran.results], [2, 3])

    def test_errors_keep_the_state(self):
        ran, codes = cells("x = 1\n1 / 0\ny = 2", "x = = 3", "x, 'y' in globals()")
        self.assertEqual((plain(ran), codes), (["(1, False)"], [1, 1, 0]))
        self.assertIn('File "<cell 1>", line 2, in <module>\n    1 / 0\n', ran.stderr)

    def test_traceback_names_the_cell_of_a_function(self):
        ran, _ = cells("def f():\n    return missing", "f()")
        self.assertIn('  File "<cell 2>", line 1, in <module>\n    f()\n', ran.stderr)
        self.assertIn('  File "<cell 1>", line 2, in f\n    return missing\n', ran.stderr)

    def test_last_results(self):
        ran, _ = cells("1", "_ + 1", "None", "_, __", "_ = 'mine'", "5", "_")
        self.assertEqual(plain(ran), ["1", "2", "(2, 1)", "5", "'mine'"])

    def test_exit_ends_the_cell(self):
        """`exit()` gives its code; the context and its standard input go on."""
        ran, codes = cells(
            "x = 1\nexit(4)\nx = 2", "x, __import__('sys').stdin.closed", "import sys; sys.exit('why')", "x"
        )
        self.assertEqual((plain(ran), codes), (["(1, False)", "1"], [4, 0, 1, 0]))
        self.assertEqual(ran.stderr, "why\n")

    def test_streams_are_new_in_each_cell(self):
        ran, codes = cells(
            "import sys\nsys.stdout.close()\nsys.stderr = None", "print('a')", "del sys.stdout", "print('b')"
        )
        self.assertEqual((ran.stdout, codes), ("a\nb\n", [0, 0, 0, 0]))

    def test_future_statements_persist(self):
        ran, _ = cells("from __future__ import annotations", "def f(x: nothing): pass\nf.__annotations__")
        self.assertEqual(plain(ran), ["{'x': 'nothing'}"])

    def test_tasks_go_on_in_cells_that_await(self):
        ran, codes = cells(
            "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return 'done'\nt = asyncio.ensure_future(f())\nawait asyncio.sleep(0)",
            "t.done()",
            "await t",
        )
        self.assertEqual((plain(ran), codes), (["False", "'done'"], [0, 0, 0]))

    def test_what_threads_write_between_cells_comes_with_the_next(self):
        def body(emit, settle):
            kernel = casemate_cell.Kernel()
            kernel.run_cell(
                b"import threading, time\nt = threading.Thread(target=lambda: (time.sleep(0.05), print('late')))\nt.start()",
                [],
                emit,
            )
            time.sleep(0.15)
            emit("stdout", b"--\n")
            kernel.run_cell(b"print('next')", [], emit)
            casemate_cell.finish()
            return 0

        self.assertEqual(support.start(body).wait().stdout, "--\nlate\nnext\n")

    def test_display_and_bounds_start_anew(self):
        ran, _ = cells("for n in range(300): display(n)", "display('again')")
        self.assertEqual(len(ran.results), 258)

    def test_a_forked_child_is_not_the_kernel(self):
        ran, codes = cells(
            "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint(bool(pid))", "'next'"
        )
        self.assertEqual(ran.stdout, "False\nTrue\n")
        self.assertEqual((plain(ran), codes), (["'next'"], [0, 0]))

    @unittest.skipUnless(
        support.importable("matplotlib"), "without matplotlib: name a tree that has it in CASEMATE_TEST_SITE"
    )
    def test_figures_are_of_their_cell(self):
        ran, _ = cells(
            "import matplotlib.pyplot as plt\nplt.plot([1]);",
            "fig, ax = plt.subplots(); ax.plot([1]); fig",
            "fig",
            "plt.get_fignums()",
        )
        self.assertEqual(
            [("image/png" in entry["data"], entry["type"]) for entry in ran.results],
            [(True, "display"), (True, "result"), (True, "result"), (False, "result")],
        )


class Interrupt(unittest.TestCase):
    def interrupted(self, *sources):
        """Runs cells, the first of which is interrupted after it wrote a line."""

        def body(emit, settle):
            kernel = casemate_cell.Kernel()
            for source in sources:
                emit("codes", b"%d " % kernel.run_cell(source.encode(), [], emit, settle=settle))
            casemate_cell.finish()
            return 0

        running = support.start(body)
        running.wait(until=lambda events: any(kind == "stdout" for kind, _ in events))
        # The line is out; the program is to be where it waits.
        time.sleep(0.05)
        os.kill(running.pid, signal.SIGINT)
        ran = running.wait()
        return ran, [int(code) for code in ran.text("codes").split()]

    def test_sleep(self):
        """R23: an interrupt ends the cell, not the context."""
        ran, codes = self.interrupted("x = 1\nimport time\nprint('go')\ntime.sleep(20)\nx = 2", "x")
        self.assertEqual((codes, plain(ran)), ([130, 0], ["1"]))
        self.assertIn('  File "<cell 1>", line 4, in <module>\n    time.sleep(20)\n', ran.stderr)
        self.assertTrue(ran.stderr.endswith("KeyboardInterrupt\n"), ran.stderr)

    def test_busy(self):
        ran, codes = self.interrupted("print('go')\nwhile True: pass", "'alive'")
        self.assertEqual((codes, plain(ran)), ([130, 0], ["'alive'"]))

    def test_await(self):
        ran, codes = self.interrupted(
            "import asyncio\nprint('go')\nawait asyncio.sleep(20)", "await asyncio.sleep(0, 'alive')"
        )
        self.assertEqual((codes, plain(ran)), ([130, 0], ["'alive'"]))

    def test_input(self):
        ran, codes = self.interrupted(
            "import os, sys, io\nr, w = os.pipe()\nprint('go')\nos.read(r, 1)", "'alive'"
        )
        self.assertEqual((codes, plain(ran)), ([130, 0], ["'alive'"]))

    def test_caught_by_the_program(self):
        ran, codes = self.interrupted(
            "import time\nprint('go')\ntry:\n    time.sleep(20)\nexcept KeyboardInterrupt:\n    print('caught')",
            "1",
        )
        self.assertEqual((codes, ran.stdout), ([0, 0], "go\ncaught\n"))

    def test_while_printing(self):
        """No frame is torn, whenever the interrupt comes: each line arrives whole."""
        for _ in range(10):
            ran, codes = self.interrupted("while True: print('x' * 5000)", "'alive'")
            self.assertEqual((codes, plain(ran)), ([130, 0], ["'alive'"]))
            # An interrupt between a text and its newline is Python's own.
            self.assertLessEqual({len(line) for line in ran.stdout.split("\n")}, {5000, 0})

    def test_between_cells_and_at_the_end(self):
        """An interrupt that comes when no program runs is nobody's; one that comes at the end ends the waiting."""

        def body(emit, settle):
            kernel = casemate_cell.Kernel()
            kernel.run_cell(b"import threading, time", [], emit)
            os.kill(os.getpid(), signal.SIGINT)
            code = kernel.run_cell(b"threading.Thread(target=time.sleep, args=(20,)).start()\n1", [], emit)
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            casemate_cell.finish()
            return code

        start = time.monotonic()
        ran = support.start(body).wait()
        self.assertEqual((ran.code, plain(ran)), (0, ["1"]))
        self.assertLess(time.monotonic() - start, 10)

    def test_script(self):
        def body(emit, settle):
            code = casemate_cell.run(
                b"import time, atexit\natexit.register(print, 'bye')\nprint('go')\ntime.sleep(20)",
                [],
                False,
                emit,
                settle=settle,
            )
            casemate_cell.finish()
            return code

        running = support.start(body)
        running.wait(until=lambda events: any(kind == "stdout" for kind, _ in events))
        os.kill(running.pid, signal.SIGINT)
        ran = running.wait()
        self.assertEqual((ran.code, ran.stdout), (130, "go\nbye\n"))


if __name__ == "__main__":
    unittest.main()
