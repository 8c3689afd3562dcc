"""A gateway of ours for a client of others: heard on a socket and on a port, with a state directory of its own."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

CASEMATE = sys.argv[1]
CALLERS = 'audience = "casemate-run"\n[api_keys]\n'
PROFILE = pathlib.Path(__file__).parents[2] / "policy/profiles/serve.toml"


def checked(condition, what):
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"ok: {what}", flush=True)


@contextlib.contextmanager
def served(tls=False):
    """The address of a gateway and a key for it; with TLS, the file of its certificate too."""
    with tempfile.TemporaryDirectory() as directory:
        state = pathlib.Path(directory)
        os.environ["CASEMATE_STATE_DIR"] = str(state / "state")
        certificate = _certificate(state) if tls else None
        process, address = _serve(state, certificate)
        try:
            yield (address, _new_key(), certificate[0]) if tls else (address, _new_key())
        finally:
            process.terminate()
            process.wait()


def _serve(directory, certificate):
    profile = PROFILE.read_text().replace(
        '["casemate:local"]',
        '["casemate:local", "casemate:api-keys"]\nallowed_tenants = ["local", "acme"]',
    )
    (directory / "profile.toml").write_text(profile)
    callers = directory / "callers.toml"
    callers.write_text(CALLERS)
    callers.chmod(0o600)
    words = ["serve", "--listen", "127.0.0.1:0", "--callers", callers]
    words += ["--profile", directory / "profile.toml"]
    if certificate:
        words += ["--tls-cert", certificate[0], "--tls-key", certificate[1]]
    log = open(directory / "log", "w+")
    process = subprocess.Popen([CASEMATE, *words], stderr=log)
    address = None
    while process.poll() is None:
        log.seek(0)
        lines = log.read().splitlines()
        for line in lines:
            if line.startswith("casemate: listening on 127.0.0.1:"):
                address = line.split()[-1]
        if address and any("casemate.sock" in line for line in lines):
            return process, address
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    log.seek(0)
    raise SystemExit(f"failed: the gateway does not start: {log.read()}")


def _certificate(directory):
    """A certificate for this machine, and its key."""
    files = directory / "certificate.pem", directory / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]]
    subprocess.run(words, check=True, capture_output=True)
    files[1].chmod(0o600)
    return files


def _new_key():
    words = ["callers", "keys", "new", "--subject", "ci", "--tenant", "acme", "--role", "operator"]
    words += ["--scope", "code:execute"]
    made = subprocess.run([CASEMATE, *words], capture_output=True, text=True, check=True)
    return made.stdout.strip()
