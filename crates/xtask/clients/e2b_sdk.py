"""The SDKs of E2B for Python, as they are now: sandboxes, code, commands, files, watches, terminals, ports."""

import os
import sys
import time

from e2b_server import checked, raises, served


def sandboxes():
    import e2b
    from e2b_code_interpreter import Sandbox

    made = Sandbox.create(timeout=120, metadata={"a": "b"}, envs={"X": "1"})
    found = Sandbox.list(query=e2b.SandboxQuery(metadata={"a": "b"})).next_items()
    checked([one.sandbox_id for one in found] == [made.sandbox_id], "list by metadata")
    before = made.get_info().end_at
    made.set_timeout(600)
    checked(made.get_info().end_at > before, "set_timeout")
    checked(Sandbox.connect(made.sandbox_id).commands.run("echo $X").stdout == "1\n", "connect, envs")
    raises(e2b.SandboxException, "an unknown template", lambda: Sandbox.create("nope"))
    raises(e2b.AuthenticationException, "a wrong key", lambda: Sandbox.create(api_key="e2b_" + "0" * 40))
    raises(e2b.SandboxException, "more network than the profile gives", lambda: Sandbox.create(network={"allow_out": ["1.1.1.1"]}))
    raises(e2b.SandboxException, "pause", made.pause)
    short = Sandbox.create(timeout=1)
    time.sleep(2)
    checked(not short.is_running(), "a sandbox ends when its time is over")
    return made


def code(sandbox):
    checked(sandbox.run_code("x = 41; x + 1").text == "42", "run_code")
    again = sandbox.run_code("print(x); 'text'")
    checked((again.text, again.logs.stdout) == ("text", ["41\n"]), "variables stay")
    failed = sandbox.run_code("1 / 0")
    checked(failed.error.name == "ZeroDivisionError" and not failed.logs.stderr, "an exception")
    told = []
    sandbox.run_code("for i in range(3): print(i)", on_stdout=lambda line: told.append(line.line))
    checked("".join(told) == "0\n1\n2\n", "on_stdout")
    other = sandbox.create_code_context(cwd="/tmp")
    checked(sandbox.run_code("import os; os.getcwd()", context=other).text == "/tmp", "a context with a directory")
    checked(sandbox.run_code("x", context=other).error.name == "NameError", "contexts have their own variables")
    sandbox.run_code("y = 1", context=other)
    sandbox.restart_code_context(other)
    checked(sandbox.run_code("y", context=other).error.name == "NameError", "restart_code_context")
    sandbox.remove_code_context(other)
    checked(other.id not in [one.id for one in sandbox.list_code_contexts()], "remove_code_context")
    checked(sandbox.run_code("echo hi", language="bash").logs.stdout == ["hi\n"], "bash")
    checked("cannot be installed" in sandbox.run_code("!pip install x").error.value, "a magic says why it fails")
    shown = sandbox.run_code("class P:\n  def _repr_html_(self): return '<b>'\nP()")
    checked(shown.results[0].html == "<b>", "results have their media types")
    from e2b import TimeoutException

    raises(TimeoutException, "run_code with a timeout", lambda: sandbox.run_code("import time; time.sleep(60)", timeout=1))
    checked(sandbox.run_code("x").text == "41", "what was interrupted leaves its variables")


def commands(sandbox):
    import e2b

    checked(sandbox.commands.run("pwd; whoami").stdout == "/home/user\nuser\n", "commands.run")
    checked(sandbox.commands.run("pwd", cwd="/tmp", envs={"A": "b"}).stdout == "/tmp\n", "cwd")
    failed = raises(e2b.CommandExitException, "an exit code", lambda: sandbox.commands.run("echo no >&2; exit 3"))
    checked((failed.exit_code, failed.stderr) == (3, "no\n"), "its standard error")
    raises(e2b.InvalidArgumentException, "a cwd that is not there", lambda: sandbox.commands.run("pwd", cwd="/nope"))
    raises(e2b.TimeoutException, "a command that takes too long", lambda: sandbox.commands.run("sleep 60", timeout=1))
    large = sandbox.commands.run("head -c 3000000 /dev/zero | tr '\\0' x").stdout
    checked(len(large) == 3_000_000, "3 MB of output, whole")
    cat = sandbox.commands.run("cat; echo done", background=True, stdin=True)
    checked(cat.pid in [one.pid for one in sandbox.commands.list()], "commands.list")
    sandbox.commands.send_stdin(cat.pid, "hello\n")
    sandbox.commands.close_stdin(cat.pid)
    checked(cat.wait().stdout == "hello\ndone\n", "send_stdin, close_stdin")
    late = sandbox.commands.run("sleep 1; echo late", background=True)
    late.disconnect()
    checked(sandbox.commands.connect(late.pid).wait().stdout == "late\n", "a command outlives who follows it")
    endless = sandbox.commands.run("sleep 1000", background=True)
    checked(endless.kill() and not sandbox.commands.kill(endless.pid + 1000), "kill")
    raises(e2b.CommandExitException, "what was killed says so", endless.wait)
    seen = []
    terminal = sandbox.pty.create(e2b.PtySize(rows=30, cols=100), timeout=30)
    sandbox.pty.resize(terminal.pid, e2b.PtySize(rows=30, cols=90))
    sandbox.pty.send_stdin(terminal.pid, b"tput cols; exit\n")
    terminal.wait(on_pty=seen.append)
    checked(b"90" in b"".join(seen), "a terminal, resized")


def files(sandbox):
    import e2b
    import httpx

    sandbox.files.write("a/b.txt", "hello")
    checked(sandbox.files.read("/home/user/a/b.txt") == "hello", "write, read")
    checked(bytes(sandbox.files.read("/mnt/data/a/b.txt", format="bytes")) == b"hello", "/mnt/data")
    listed = {(one.path, one.type) for one in sandbox.files.list("/home/user/a", depth=2)}
    checked(listed == {("/home/user/a/b.txt", e2b.FileType.FILE)}, "list")
    info = sandbox.files.get_info("a/b.txt")
    checked((info.size, info.owner, info.permissions) == (5, "user", "-rw-r--r--"), "get_info")
    checked(sandbox.files.make_dir("d/e") and not sandbox.files.make_dir("d/e"), "make_dir")
    sandbox.files.rename("a/b.txt", "d/c.txt")
    checked(sandbox.files.exists("d/c.txt") and not sandbox.files.exists("a/b.txt"), "rename, exists")
    sandbox.files.remove("a")
    checked(not sandbox.files.exists("a"), "remove")
    sandbox.files.write("/tmp/x/y.txt", "outside")
    checked(sandbox.files.read("/tmp/x/y.txt") == "outside", "outside of the workspace")
    raises(e2b.SandboxException, "nothing is written to /etc", lambda: sandbox.files.write("/etc/x", "y"))
    raises(e2b.FileNotFoundException, "a file that is not there", lambda: sandbox.files.read("nope"))
    raises(e2b.InvalidArgumentException, "a directory is no file", lambda: sandbox.files.read("d"))
    sandbox.files.write("z", "z" * 1_000_000, gzip=True)
    checked(len(sandbox.files.read("z", gzip=True)) == 1_000_000, "gzip both ways")
    two = [{"path": f"m/{name}", "data": name} for name in ("1", "2")]
    checked(len(sandbox.files.write_files(two)) == 2 and sandbox.files.read("m/2") == "2", "several files")
    watch = sandbox.files.watch_dir("/home/user", recursive=True)
    sandbox.files.write("w.txt", "1")
    sandbox.commands.run("mkdir n; echo 1 > n/v.txt; rm n/v.txt")
    time.sleep(0.5)
    events = [(one.name, one.type.value) for one in watch.get_new_events()]
    watch.stop()
    wanted = [("w.txt", "create"), ("w.txt", "write"), ("n", "create"), ("n/v.txt", "remove")]
    checked(set(wanted) <= set(events), f"watch_dir: {events}")
    signed = sandbox.download_url("d/c.txt", use_signature_expiration=60)
    checked(httpx.get(signed).text == "hello", "download_url")
    late = httpx.get(sandbox.download_url("d/c.txt", use_signature_expiration=-60))
    checked((late.status_code, late.json()["message"]) == (401, "signature is already expired"), "an expired address")
    put = httpx.post(sandbox.upload_url("u.txt"), files={"file": ("u.txt", b"up")})
    checked(put.status_code == 200 and sandbox.files.read("u.txt") == "up", "upload_url")


def ports(sandbox):
    import httpx

    sandbox.commands.run("python3 -m http.server 8000 --bind 127.0.0.1", background=True, timeout=0)
    address, token = os.environ["E2B_API_URL"], {"e2b-traffic-access-token": sandbox.traffic_access_token}
    host = {"host": sandbox.get_host(8000)}
    for _ in range(100):
        found = httpx.get(f"{address}/d/c.txt", headers={**host, **token})
        if found.status_code == 200:
            break
        time.sleep(0.1)
    checked(found.text == "hello", "a port by its host")
    checked(httpx.get(f"{address}/d/c.txt", headers=host).status_code == 401, "no port without the token")
    closed = httpx.get(address, headers={"host": sandbox.get_host(8001), **token})
    checked(closed.status_code == 502 and "port is not open" in closed.text, "a port on which nobody listens")


def main():
    import e2b

    sandbox = sandboxes()
    for part in (code, commands, files, ports):
        part(sandbox)
    checked(sandbox.kill() and not sandbox.kill() and not sandbox.is_running(), "kill")
    raises(e2b.SandboxException, "nothing runs in what was killed", lambda: sandbox.commands.run("true"))


with served(sys.argv[1]) as environment:
    # Before the SDK is loaded, which reads it.
    os.environ.update(environment)
    main()
