"""A server of ours for clients of E2B, with a state directory of its own; and what its clients find in their environment."""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile


@contextlib.contextmanager
def served(casemate):
    """What the environment of a client has to say, beside what it says."""
    with tempfile.TemporaryDirectory() as directory:
        state = {**os.environ, "CASEMATE_STATE_DIR": str(pathlib.Path(directory) / "state")}
        words = [casemate, "up", "--json", "--listen", "127.0.0.1:0"]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=state)
        try:
            first = json.loads(server.stdout.readline())
            assert json.loads(server.stdout.readline())["ready"]
            yield {"E2B_API_KEY": first["api_key"], "E2B_API_URL": first["url"], "E2B_SANDBOX_URL": first["url"]}
            assert server.poll() is None, "the server has ended"
        finally:
            server.terminate()
            server.wait()


def checked(condition, what):
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"ok: {what}", flush=True)


def raises(kind, what, do):
    try:
        do()
    except kind as error:
        print(f"ok: {what}", flush=True)
        return error
    raise SystemExit(f"failed: {what}: nothing was raised")
