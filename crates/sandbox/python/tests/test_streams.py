"""The order of output, whoever writes it, and the speed of it."""

import os
import random
import sys
import time
import unittest

import support

support.load()
import casemate_cell  # noqa: E402


def setUpModule():
    assert not casemate_cell.prepare(["ctypes", "subprocess"])


class Order(unittest.TestCase):
    def test_python_children_and_c(self):
        """R56: forty programs of random writers: all that was written comes out in the order it was written."""
        seed = int(os.environ.get("CASEMATE_TEST_SEED", random.randrange(1 << 32)))
        chance = random.Random(seed)
        writers = [
            "print({0!r}, flush={1})",
            "sys.stdout.write({0!r} + '\\n')",
            "print({0!r}, end=''); print()",
            "subprocess.run(['echo', {0!r}])",
            "os.system('echo ' + {0!r})",
            "libc.puts({0!r}.encode())",
            "sys.stdout.buffer.write({0!r}.encode() + b'\\n')",
        ]
        for turn in range(40):
            lines, program = [], ["import sys, os, subprocess, ctypes", "libc = ctypes.CDLL(None)"]
            for number in range(20):
                text = "line-%d-%d" % (turn, number)
                lines.append(text)
                program.append(chance.choice(writers).format(text, chance.random() < 0.3))
            ran = support.run("\n".join(program) + "\nNone")
            self.assertEqual(
                ran.stdout.splitlines(), lines, "seed %d, %s\n%s" % (seed, ran.stderr, "\n".join(program))
            )

    def test_both_streams_and_results(self):
        source = "import sys\nfor n in range(50):\n    print(n, file=sys.stderr if n % 3 else sys.stdout, end='' if n % 2 else '\\n')\n    display(n)"
        ran = support.run(source)
        seen, numbers = [], []
        for kind, data in ran.events:
            seen.append(kind)
            numbers.append(int(data) if kind != "results" else None)
        self.assertEqual([n for n in numbers if n is not None], list(range(50)))
        self.assertEqual(
            [kind for kind in seen],
            [k for n in range(50) for k in ("stderr" if n % 3 else "stdout", "results")],
        )

    def test_a_reader_that_does_not_come(self):
        """Nobody reads what a child wrote: a write waits a little, once, and the next ones do not."""
        read, write = os.pipe()
        got = []

        def body(emit, settle):
            os.dup2(write, 1)
            os.write(1, b"unread")
            start = time.monotonic()
            casemate_cell.run(
                b"for n in range(100): print(n)", [], False, lambda kind, data: got.append(data)
            )
            return 0 if len(got) == 100 and time.monotonic() - start < 0.5 else 1

        self.assertEqual(support.start(body).wait().code, 0)

    def test_a_child_that_holds_the_pipe(self):
        """What a child in the background writes meanwhile does not stop the cell."""
        ran = support.run(
            "import subprocess\np = subprocess.Popen(['sh', '-c', 'for i in 1 2 3 4 5; do echo c; done'])\nfor n in range(5): print('p')\np.wait();"
        )
        self.assertEqual(sorted(ran.stdout), sorted("c\n" * 5 + "p\n" * 5))

    def test_terminal(self):
        """On a terminal the streams are the terminal's."""
        import pty

        def body(emit, settle):
            main, terminal = pty.openpty()
            for fd in (0, 1, 2):
                os.dup2(terminal, fd)
            code = casemate_cell.run(
                b"import sys\nprint(sys.stdout.isatty(), sys.stderr.isatty(), sys.stdin.isatty())\nprint('e', file=sys.stderr)\n1 + 1",
                [],
                True,
                emit,
            )
            text = b""
            while text.count(b"\n") < 2:
                text += os.read(main, 1000)
            emit("tty", text)
            return code

        ran = support.start(body).wait()
        self.assertEqual(ran.text("tty"), "True True True\r\ne\r\n")
        self.assertEqual(ran.results[0]["data"], {"text/plain": "2"})


class Speed(unittest.TestCase):
    def test_many_lines(self):
        """A hundred thousand lines within some seconds: the figure is printed, the bound is generous."""

        def body(emit, settle):
            start = time.monotonic()
            casemate_cell.run(b"for n in range(100000): print('line', n)", [], False, emit, settle=settle)
            emit("time", b"%f" % (time.monotonic() - start))
            return 0

        ran = support.start(body).wait()
        self.assertEqual(ran.stdout.count("\n"), 100000)
        sys.stderr.write("100000 lines: %s s\n" % ran.text("time"))
        self.assertLess(float(ran.text("time")), 20)


if __name__ == "__main__":
    unittest.main()
