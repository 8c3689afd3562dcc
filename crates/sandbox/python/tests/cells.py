"""Cells, and what comes of them.

Each is a dictionary: `name`, `source`; then what is expected, where nothing said means nothing at all: `stdout`,
`stderr` (exactly; or `stderr_has`, a list of what it contains), `both` in place of the two (their order), `code`,
`results` (a list of dictionaries: what is in them must be in the results, in this order; data values that are tuples
are text that must be contained). `script` runs it without echo, `stdin` and `argv` are its input, `needs` the packages
without which it is skipped, `since` the version of Python from which on it holds.
"""

PNG = ("iVBORw0KGgo",)


def result(text):
    return {"type": "result", "data": {"text/plain": text}}


def failure(name, value):
    return {"type": "error", "name": name, "value": value}


CELLS = [
    # The last expression.
    dict(name="value", source="1 + 1", results=[result("2")]),
    dict(name="value_of_the_last_only", source="1\n2\n3", results=[result("3")]),
    dict(name="none_is_nothing", source="None"),
    dict(name="empty", source=""),
    dict(name="comment_only", source="# nothing\n"),
    dict(name="statement_last", source="x = 1"),
    dict(name="string", source="'a\\n'", results=[result("'a\\n'")]),
    dict(name="docstring_is_a_value", source='"""text"""', results=[result("'text'")]),
    dict(name="silenced", source="1 + 1;"),
    dict(name="silenced_with_comment", source="(1 +\n 1) ; # quiet\n\n"),
    dict(name="silenced_after_bracket", source="('a')\n; \n".replace("\n;", ";")),
    dict(name="semicolon_in_comment", source="1 # not; this", results=[result("1")]),
    dict(name="semicolon_in_string", source="';'", results=[result("';'")]),
    dict(name="semicolon_before", source="x = 1; x", results=[result("1")]),
    dict(name="silenced_wide_characters", source="'äöü€😀';"),
    dict(name="wide_characters", source="'äöü€😀' # ;", results=[result("'äöü€😀'")]),
    dict(name="call_that_prints", source="print('a')", stdout="a\n"),
    dict(name="multi_line_call", source="sum([\n 1,\n 2,\n])", results=[result("3")]),
    dict(name="windows_newlines", source="x = 1\r\nif x:\r\n    y = 2\r\ny\r\n", results=[result("2")]),
    dict(name="byte_order_mark", source=b"\xef\xbb\xbf'\xc3\xa4'", results=[result("'ä'")]),
    dict(name="latin_cookie", source=b"# coding: latin-1\n'\xe4'", results=[result("'ä'")]),
    dict(name="latin_cookie_silenced", source=b"# coding: latin-1\n'\xe4\xe4\xe4';"),
    dict(name="script_has_no_value", source="1 + 1", script=True),
    dict(
        name="future_annotations",
        source="from __future__ import annotations\ndef f(x: no_such): return 1\n(lambda: f(2))()",
        results=[result("1")],
    ),
    dict(
        name="displayhook",
        source="import sys\nsys.displayhook = lambda v: print('hook', v)\n3",
        stdout="hook 3\n",
    ),
    # Await.
    dict(name="await", source="import asyncio\nawait asyncio.sleep(0, 'done')", results=[result("'done'")]),
    dict(
        name="await_statement", source="import asyncio\nx = await asyncio.sleep(0, 5)\nprint(x)", stdout="5\n"
    ),
    dict(
        name="async_for",
        source="async def g():\n    yield 1\n    yield 2\nasync for x in g():\n    print(x)\n[y async for y in g()]",
        stdout="1\n2\n",
        results=[result("[1, 2]")],
    ),
    dict(
        name="await_raises",
        source="async def f():\n    1 / 0\nawait f()",
        code=1,
        stderr_has=[
            'Traceback (most recent call last):\n  File "<cell>", line 3, in <module>\n',
            "in f\n",
            "ZeroDivisionError",
        ],
        results=[failure("ZeroDivisionError", "division by zero")],
    ),
    dict(
        name="asyncio_run",
        source="import asyncio\nasync def f(): return 7\nasyncio.run(f())",
        results=[result("7")],
    ),
    dict(
        name="tasks_are_cancelled",
        source=(
            "import asyncio\nasync def f():\n    try:\n        await asyncio.sleep(60)\n    finally:\n        print('cancelled')\n"
            "t = asyncio.create_task(f())\nawait asyncio.sleep(0)"
        ),
        stdout="cancelled\n",
    ),
    dict(
        name="await_in_a_script",
        source="await x",
        script=True,
        code=1,
        stderr_has=["SyntaxError: 'await' outside function"],
        results=[{"type": "error", "name": "SyntaxError"}],
    ),
    # Output.
    dict(
        name="order_of_streams",
        source=(
            "import sys\nfor n in range(3):\n    print(n, end=' ')\n    print('e', n, end=' ', file=sys.stderr)\nsys.stdout.write('end')"
        ),
        both="0 e 0 1 e 1 2 e 2 end",
        results=[result("3")],
    ),
    dict(
        name="order_with_children",
        source=(
            "import subprocess, sys, os\nprint('a', end='')\nsubprocess.run(['sh', '-c', 'echo b; echo c >&2'])\n"
            "print('d', file=sys.stderr, end='')\nos.system('printf e')\nprint('f', flush=True)\nos.write(1, b'g\\n')\nprint('h');"
        ),
        both="ab\nc\ndef\ng\nh\n",
        any_order=("b\n", "c\n"),
    ),
    dict(
        name="buffer",
        source="import sys\nsys.stdout.write('a')\nsys.stdout.buffer.write(b'\\xff')\nsys.stdout.flush();",
        stdout="a\udcff",
    ),
    dict(name="large", source="print('x' * 1000000)", stdout="x" * 1000000 + "\n"),
    dict(name="no_newline_at_the_end", source="print('a', end='')", stdout="a"),
    dict(name="surrogates", source="print('\\udcff'); print('\\ud800') if 0 else None", stdout="\udcff\n"),
    dict(
        name="stream_attributes",
        source=(
            "import sys\nfor s in (sys.stdout, sys.stderr):\n    print(s.isatty(), s.fileno(), s.encoding, s.name, s.writable(), s.mode)"
        ),
        stdout="False 1 utf-8 <stdout> True w\nFalse 2 utf-8 <stderr> True w\n",
    ),
    dict(
        name="replaced_stdout",
        source="import sys, io\nsys.stdout = io.StringIO()\nprint('lost')\n1",
        results=[result("1")],
    ),
    dict(
        name="wrapped_stdout",
        source="import sys, io\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, 'latin-1')\nprint('\\xe4')",
        stdout="\udce4\n",
    ),
    dict(
        name="deleted_stdout",
        source="import sys\ndel sys.stdout, sys.stderr\n1 / 0",
        code=1,
        stderr_has=["ZeroDivisionError: division by zero\n"],
        results=[failure("ZeroDivisionError", "division by zero")],
    ),
    dict(name="none_stdout", source="import sys\nsys.stdout = None\nprint('lost')\n1", results=[result("1")]),
    dict(
        name="closed_stdout",
        source="import sys\nsys.stdout.close()\nprint('a')",
        code=1,
        stderr_has=["ValueError: I/O operation on closed file"],
        results=[{"type": "error", "name": "ValueError"}],
    ),
    dict(
        name="descriptor_redirected",
        source=(
            "import os, tempfile\nf = tempfile.TemporaryFile()\nkept = os.dup(1)\nos.dup2(f.fileno(), 1)\nprint('in the file')\n"
            "os.dup2(kept, 1)\nf.seek(0)\nprint(f.read())"
        ),
        stdout="b'in the file\\n'\n",
    ),
    dict(
        name="redirect_stdout",
        source=(
            "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as f:\n    print('a')\nf.getvalue()"
        ),
        results=[result("'a\\n'")],
    ),
    dict(
        name="printf_of_c",
        source="import ctypes\nlibc = ctypes.CDLL(None)\nlibc.printf(b'a\\n')\nprint('b')\nlibc.printf(b'c\\n');",
        stdout="a\nb\nc\n",
    ),
    dict(
        name="from_threads",
        source=(
            "import threading\nts = [threading.Thread(target=lambda: [print('x' * 99) for _ in range(50)]) for _ in range(4)]\n"
            "[t.start() for t in ts]; [t.join() for t in ts];"
        ),
        sorted_lines=["x" * 99] * 200,
        lenient=True,
    ),
    # Input.
    dict(
        name="input",
        source="a = input('? ')\nb = input()\n(a, b)",
        stdin="x y\nz\n",
        stdout="? ",
        results=[result("('x y', 'z')")],
    ),
    dict(
        name="end_of_input",
        source="input()",
        code=1,
        stderr_has=["EOFError: EOF when reading a line\n"],
        results=[failure("EOFError", "EOF when reading a line")],
    ),
    dict(
        name="stdin_lines",
        source="import sys\n[line for line in sys.stdin]",
        stdin="a\nb",
        results=[result("['a\\n', 'b']")],
    ),
    # Ends.
    dict(name="exit_3", source="import sys\nsys.exit(3)", code=3),
    dict(name="exit_none", source="import sys\nsys.exit()", code=0),
    dict(name="exit_text", source="raise SystemExit('why')", stderr="why\n", code=1),
    dict(name="exit_negative", source="raise SystemExit(-1)", code=255),
    dict(name="exit_true", source="raise SystemExit(True)", code=1),
    dict(name="exit_builtin", source="exit()\nprint('not reached')", code=0),
    dict(
        name="interrupt_raised",
        source="raise KeyboardInterrupt",
        code=130,
        stderr_has=["KeyboardInterrupt\n"],
        results=[{"type": "error", "name": "KeyboardInterrupt"}],
    ),
    dict(
        name="atexit",
        source="import atexit\natexit.register(print, 'bye')\nprint('hello')",
        stdout="hello\nbye\n",
    ),
    dict(
        name="threads_are_waited_for",
        source=(
            "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()\nprint('early')"
        ),
        stdout="early\nlate\n",
    ),
    dict(
        name="daemon_threads_are_not",
        source=(
            "import threading, time\nthreading.Thread(target=lambda: (time.sleep(9), print('late')), daemon=True).start()\nprint('early')"
        ),
        stdout="early\n",
    ),
    dict(
        name="segfault_after_print",
        source="print('before')\nimport os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
        stdout="before\n",
        code=-11,
    ),
    dict(
        name="hard_exit_after_print",
        source="print('before')\nimport os\nos._exit(5)",
        stdout="before\n",
        code=5,
    ),
    dict(
        name="forked_child_ends",
        source=(
            "import os, sys\nif os.fork() == 0:\n    print('child')\n    sys.exit(3)\n_, status = os.wait()\nstatus >> 8"
        ),
        stdout="child\n",
        results=[result("3")],
    ),
    dict(
        name="forked_child_falls_through",
        source="import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('both')\n'once'",
        stdout="both\nonce\nboth\n".replace("once\n", "'once'\n"),
        results=[result("'once'")],
    ),
    dict(
        name="multiprocessing",
        source=(
            "import multiprocessing as m\ndef f(x):\n    print('in', x)\n    return x * x\nif __name__ == '__main__':\n"
            "    with m.get_context('fork').Pool(2) as p:\n        print(p.map(f, [1, 2, 3]))"
        ),
        sorted_lines=["[1, 4, 9]", "in 1", "in 2", "in 3"],
        lenient=True,
    ),
    # Errors.
    dict(
        name="syntax_error",
        source="x = = 1",
        code=1,
        stderr='  File "<cell>", line 1\n    x = = 1\n        ^\nSyntaxError: invalid syntax\n',
        results=[failure("SyntaxError", "invalid syntax (<cell>, line 1)")],
        since=(3, 9),
    ),
    dict(
        name="indentation_error",
        source="if 1:\nx",
        code=1,
        stderr_has=["IndentationError: expected an indented block"],
        results=[{"type": "error", "name": "IndentationError"}],
    ),
    dict(
        name="magic_is_a_syntax_error",
        source="%matplotlib inline\n1",
        code=1,
        stderr_has=["SyntaxError: invalid syntax\n"],
        results=[{"type": "error", "name": "SyntaxError"}],
    ),
    dict(
        name="shell_is_a_syntax_error",
        source="!ls",
        code=1,
        stderr_has=["SyntaxError: invalid syntax\n"],
        results=[{"type": "error", "name": "SyntaxError"}],
    ),
    dict(
        name="return_outside",
        source="return 1",
        code=1,
        stderr_has=["SyntaxError: 'return' outside function\n"],
        results=[{"type": "error", "name": "SyntaxError"}],
    ),
    dict(
        name="nul_byte",
        source=b"x = 1\0",
        code=1,
        stderr_has=["source code string cannot contain null bytes"],
        results=[{"type": "error"}],
    ),
    dict(
        name="not_utf8",
        source=b"x = '\xff'",
        code=1,
        stderr_has=["SyntaxError: (unicode error) 'utf-8' codec can't decode byte 0xff"],
        results=[{"type": "error", "name": "SyntaxError"}],
    ),
    dict(
        name="traceback",
        source="def f():\n    return missing\n\nf()",
        code=1,
        stderr_has=[
            'Traceback (most recent call last):\n  File "<cell>", line 4, in <module>\n    f()\n',
            '  File "<cell>", line 2, in f\n    return missing\n',
            "NameError: name 'missing' is not defined\n",
        ],
        results=[failure("NameError", "name 'missing' is not defined")],
    ),
    dict(
        name="chained",
        source="try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('b') from e",
        code=1,
        stderr_has=[
            "ZeroDivisionError: division by zero\n",
            "The above exception was the direct cause",
            "ValueError: b\n",
        ],
        results=[failure("ValueError", "b")],
    ),
    dict(
        name="output_then_error",
        source="print('a')\nimport sys\nprint('b', end='')\n1 / 0",
        code=1,
        stdout="a\nb",
        stderr_has=["ZeroDivisionError"],
        results=[failure("ZeroDivisionError", "division by zero")],
    ),
    dict(
        name="recursion",
        source="def f(): f()\nf()",
        code=1,
        stderr_has=["[Previous line repeated 9", "RecursionError: maximum recursion depth exceeded"],
        results=[{"type": "error", "name": "RecursionError"}],
    ),
    dict(
        name="deep_recursion_is_cut",
        source=(
            "import sys\nsys.setrecursionlimit(20000)\ndef f(n):\n    if n == 0: raise ValueError('deep')\n    g(n - 1)\n"
            "def g(n): f(n)\nf(3000)"
        ),
        code=1,
        stderr_has=["frames in the middle are left out", "ValueError: deep\n"],
        stderr_most=70000,
        results=[failure("ValueError", "deep")],
    ),
    dict(
        name="huge_message_is_cut",
        source="raise ValueError('x' * 10000000)",
        code=1,
        stderr_has=["in the middle are left out"],
        stderr_most=70000,
        results=[{"type": "error", "name": "ValueError"}],
    ),
    dict(
        name="message_that_raises",
        source="class E(Exception):\n    def __str__(self): 1 / 0\nraise E",
        code=1,
        stderr_has=["E: <"],
        results=[{"type": "error", "name": "E"}],
    ),
    dict(
        name="excepthook",
        source="import sys\nsys.excepthook = lambda k, v, t: print('hook', k.__name__)\n1 / 0",
        code=1,
        stdout="hook ZeroDivisionError\n",
        results=[failure("ZeroDivisionError", "division by zero")],
    ),
    dict(
        name="group",
        source="raise ExceptionGroup('g', [ValueError('a'), TypeError('b')])",
        code=1,
        since=(3, 11),
        stderr_has=["ExceptionGroup: g (2 sub-exceptions)", "ValueError: a", "TypeError: b"],
        results=[{"type": "error", "name": "ExceptionGroup"}],
    ),
    # `__main__`.
    dict(
        name="main",
        source="import sys\n__name__, '__file__' in globals(), sys.modules['__main__'].__dict__ is globals(), __builtins__.__name__",
        results=[result("('__main__', False, True, 'builtins')")],
    ),
    dict(name="argv", source="import sys\nsys.argv", argv=["a", "b c"], results=[result("['a', 'b c']")]),
    dict(
        name="pickle",
        source="import pickle\nclass A:\n    x = 1\npickle.loads(pickle.dumps(A())).x",
        results=[result("1")],
    ),
    dict(
        name="dataclass",
        source="from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: 'int' = 2\nP(1)",
        results=[result("P(x=1, y=2)")],
    ),
    dict(
        name="getsource",
        source="import inspect\ndef f(x):\n    return x  # here\nprint(inspect.getsource(f))",
        stdout="def f(x):\n    return x  # here\n\n",
    ),
    dict(
        name="type_hints",
        source="import typing\nclass A:\n    x: 'A'\ntyping.get_type_hints(A)['x'] is A",
        results=[result("True")],
    ),
    dict(
        name="warning",
        source="import warnings\nwarnings.warn('careful')",
        stderr="<cell>:2: UserWarning: careful\n  warnings.warn('careful')\n",
    ),
    dict(name="logging", source="import logging\nlogging.warning('w')", stderr="WARNING:root:w\n"),
    dict(name="doctest_like_globals", source="x = 1\ndef f(): return x\nx = 2\nf()", results=[result("2")]),
    # Rich results.
    dict(
        name="repr_html",
        source="class A:\n    def _repr_html_(self): return '<b>a</b>'\n    def __repr__(self): return 'A'\nA()",
        results=[{"type": "result", "data": {"text/html": "<b>a</b>", "text/plain": "A"}}],
    ),
    dict(
        name="repr_png",
        source="class A:\n    def _repr_png_(self): return b'\\x89PNG'\n    def __repr__(self): return 'A'\ndisplay(A())",
        results=[{"type": "display", "data": {"image/png": "iVBORw==", "text/plain": "A"}}],
    ),
    dict(
        name="mimebundle",
        source=(
            "class A:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n"
            "        return {'application/json': {'a': float('nan')}, 'text/plain': 'j'}, {'application/json': {'expanded': True}}\nA()"
        ),
        results=[
            {
                "data": {"application/json": {"a": None}, "text/plain": "j"},
                "metadata": {"application/json": {"expanded": True}},
            }
        ],
    ),
    dict(
        name="ipython_display",
        source="class A:\n    def _ipython_display_(self): print('myself')\nA()",
        stdout="myself\n",
    ),
    dict(
        name="class_with_methods",
        source="class A:\n    def _repr_html_(self): return 'x'\nA",
        results=[{"type": "result", "data": {"text/plain": ("A",)}}],
    ),
    dict(
        name="object_with_every_attribute",
        source=(
            "class A:\n    def __getattr__(self, name): return lambda *a, **k: 'anything'\n    def __repr__(self): return 'A'\nA()"
        ),
        results=[{"type": "result", "data": {"text/plain": "A"}}],
    ),
    dict(
        name="repr_that_raises",
        source="class A:\n    def _repr_html_(self): 1 / 0\n    def __repr__(self): return 'A'\nA()",
        stderr_has=["ZeroDivisionError"],
        results=[result("A")],
    ),
    dict(
        name="plain_repr_that_raises",
        source="class A:\n    def __repr__(self): 1 / 0\nA()",
        stderr_has=["ZeroDivisionError"],
    ),
    dict(
        name="surrogate_in_result", source="print() or '\\ud800'", stdout="\n", results=[result("'\\ud800'")]
    ),
    dict(
        name="display_order",
        source="print('a')\ndisplay(1)\nprint('b')\n2",
        stdout="a\nb\n",
        results=[{"type": "display", "data": {"text/plain": "1"}}, result("2")],
    ),
    dict(
        name="display_id",
        source="h = display('a', display_id='i')\nh.update('b')",
        results=[
            {"type": "display", "display_id": "i"},
            {"type": "update", "display_id": "i", "data": {"text/plain": "'b'"}},
        ],
    ),
    dict(
        name="too_large",
        source="class A:\n    def _repr_html_(self): return 'x' * (9 << 20)\n    def __repr__(self): return 'A'\nA()",
        results=[
            {
                "data": {"text/plain": "A"},
                "metadata": {"casemate": {"left_out": {"text/html": (9 << 20) + 3}}},
            }
        ],
    ),
    dict(
        name="all_too_large",
        source="class A:\n    def __repr__(self): return 'x' * (9 << 20)\nA()",
        results=[{"data": {"text/plain": ("left out: a result may have 8388608",)}}],
    ),
    dict(
        name="too_many",
        source="for n in range(300): display(n)",
        count=257,
        results=[{"data": {"text/plain": "0"}}],
        last={"data": {"text/plain": ("a cell may give 256 results",)}},
    ),
    # With packages.
    dict(
        name="numpy",
        source="import numpy as np\nnp.arange(3)",
        needs=["numpy"],
        results=[result("array([0, 1, 2])")],
    ),
    dict(
        name="frame",
        source="import pandas as pd\npd.DataFrame({'a': [1, 2]})",
        needs=["pandas"],
        results=[{"type": "result", "data": {"text/html": ("<table",), "text/plain": "   a\n0  1\n1  2"}}],
    ),
    dict(
        name="series",
        source="import pandas as pd\npd.Series([1, 2], name='s')",
        needs=["pandas"],
        results=[
            {
                "type": "result",
                "data": {"text/html": ("<th>s</th>",), "text/plain": "0    1\n1    2\nName: s, dtype: int64"},
            }
        ],
    ),
    dict(
        name="figure_at_the_end",
        source="import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        needs=["matplotlib"],
        results=[{"type": "display", "data": {"image/png": PNG, "text/plain": ("<Figure size 640x480",)}}],
    ),
    dict(
        name="figure_shown_is_shown_once",
        source="import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nplt.get_fignums()",
        needs=["matplotlib"],
        results=[{"type": "display", "data": {"image/png": PNG}}, result("[]")],
    ),
    dict(
        name="figure_as_value_is_shown_once",
        source="import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])\nfig",
        needs=["matplotlib"],
        results=[{"type": "result", "data": {"image/png": PNG}}],
    ),
    dict(
        name="figure_changed_is_shown_again",
        source=(
            "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])\ndisplay(fig)\nax.set_title('new');"
        ),
        needs=["matplotlib"],
        results=[
            {"type": "display", "data": {"image/png": PNG}},
            {"type": "display", "data": {"image/png": PNG}},
        ],
    ),
    dict(
        name="two_figures",
        source="import matplotlib.pyplot as plt\nplt.figure(); plt.plot([1])\nplt.figure(); plt.plot([2]);",
        needs=["matplotlib"],
        results=[
            {"type": "display", "data": {"image/png": PNG}},
            {"type": "display", "data": {"image/png": PNG}},
        ],
    ),
    dict(
        name="figure_closed_is_not_shown",
        source="import matplotlib.pyplot as plt\nplt.plot([1])\nplt.savefig('/dev/null', format='png')\nplt.close()",
        needs=["matplotlib"],
    ),
    dict(
        name="figure_with_another_backend",
        source="import matplotlib\nmatplotlib.use('svg')\nimport matplotlib.pyplot as plt\nplt.plot([1]);",
        needs=["matplotlib"],
    ),
    dict(
        name="figure_despite_an_error",
        source="import matplotlib.pyplot as plt\nplt.plot([1])\n1 / 0",
        needs=["matplotlib"],
        code=1,
        stderr_has=["ZeroDivisionError"],
        results=[{"type": "error"}, {"type": "display", "data": {"image/png": PNG}}],
    ),
    dict(
        name="picture",
        source="from PIL import Image\nImage.new('RGB', (2, 2))",
        needs=["PIL"],
        results=[{"type": "result", "data": {"image/png": PNG}}],
    ),
    dict(
        name="ipython_objects",
        source="from IPython.display import display, HTML, SVG, Markdown\ndisplay(HTML('<i>'), Markdown('*'))\nSVG('<svg/>')",
        needs=["IPython"],
        results=[
            {"type": "display", "data": {"text/html": "<i>"}},
            {"type": "display", "data": {"text/markdown": "*"}},
            {"type": "result", "data": {"image/svg+xml": ("<svg",)}},
        ],
    ),
    dict(
        name="ipython_image",
        source="from IPython.display import Image\nImage(data=b'\\x89PNG\\r\\n\\x1a\\n' + bytes(24), format='png')",
        needs=["IPython"],
        results=[{"type": "result", "data": {"image/png": PNG}}],
    ),
    dict(
        name="ipython_update",
        source="from IPython.display import display, update_display, clear_output\nh = display('a', display_id=True)\nh.update('b')\nclear_output(wait=True)",
        needs=["IPython"],
        results=[{"type": "display"}, {"type": "update"}, {"type": "clear", "wait": True}],
    ),
    dict(
        name="ipython_publish",
        source="from IPython.display import publish_display_data\npublish_display_data({'text/x': 'y'})",
        needs=["IPython"],
        results=[{"type": "display", "data": {"text/x": "y"}}],
    ),
]
