"""A server of ours for clients of E2B and of OpenAI, with a state directory of its own; and what its clients find in their environment."""

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
            key, url = first["api_key"], first["url"]
            of_e2b = {"E2B_API_KEY": key, "E2B_API_URL": url, "E2B_SANDBOX_URL": url}
            yield {**of_e2b, "OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"{url}/openai/v1"}
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
