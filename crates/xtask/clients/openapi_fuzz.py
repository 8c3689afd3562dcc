"""schemathesis: every endpoint under requests made from its own description, right and wrong ones. None may end in a 5xx, hang,
or answer what the description does not say."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

CASEMATE = sys.argv[1]
# WebSockets, and streams that go on for as long as somebody reads.
NO_ANSWER = r"/(terminal|ports/\{port\}|events)$"
CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance,use_after_free,ignored_auth"

with tempfile.TemporaryDirectory() as directory:
    os.environ["CASEMATE_STATE_DIR"] = str(pathlib.Path(directory) / "state")
    words = [CASEMATE, "up", "--json", "--listen", "127.0.0.1:0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        first = json.loads(server.stdout.readline())
        assert json.loads(server.stdout.readline())["ready"]
        fuzz = [sys.executable, "-m", "schemathesis.cli", "run", first["url"] + "/openapi.json"]
        fuzz += ["--header", "Authorization: Bearer " + first["api_key"]]
        fuzz += ["--checks", CHECKS, "--exclude-path-regex", NO_ANSWER]
        fuzz += ["--request-timeout", "30", "--continue-on-failure", "--workers", "2"]
        fuzz += ["--max-examples", os.environ.get("CASEMATE_FUZZ_EXAMPLES", "30"), "--suppress-health-check", "all"]
        ended = subprocess.run(fuzz, cwd=directory)
        alive = server.poll() is None
    finally:
        server.terminate()
        server.wait()
    if ended.returncode != 0 or not alive:
        raise SystemExit("failed: schemathesis found something")
    print("ok: schemathesis found nothing")
