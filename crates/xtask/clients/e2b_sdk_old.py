"""The SDK of E2B for Python of the generation before, with the first version of the control plane, and keys in its spelling."""

import os
import sys
import time

from e2b_server import checked, served


def main():
    import e2b

    sandbox = e2b.Sandbox.create(timeout=120, metadata={"a": "b"})
    checked(sandbox.commands.run("pwd").stdout == "/home/user\n", "commands.run")
    sandbox.files.write("a.txt", "hello")
    checked(sandbox.files.read("a.txt") == "hello", "files")
    checked("a.txt" in [one.name for one in sandbox.files.list(".")], "list")
    checked(sandbox.is_running() and sandbox.get_info().metadata == {"a": "b"}, "get_info")
    again = e2b.Sandbox.connect(sandbox.sandbox_id)
    cat = again.commands.run("cat", background=True, stdin=True)
    again.commands.send_stdin(cat.pid, "x")
    again.commands.kill(cat.pid)
    watch = sandbox.files.watch_dir(".")
    sandbox.files.write("w.txt", "1")
    time.sleep(0.5)
    checked("w.txt" in [one.name for one in watch.get_new_events()], "watch_dir")
    watch.stop()
    terminal = sandbox.pty.create(e2b.PtySize(rows=24, cols=80))
    sandbox.pty.send_stdin(terminal.pid, b"exit\n")
    checked(terminal.wait().exit_code == 0, "a terminal")
    checked(sandbox.kill(), "kill")


with served(sys.argv[1]) as environment:
    key = environment["E2B_API_KEY"].removeprefix("cm_").replace("_", "")
    os.environ.update(environment, E2B_API_KEY=f"e2b_{key}")
    main()
