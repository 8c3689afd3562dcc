"""The conformance suite of the Model Context Protocol against a gateway as it is served: what it needs no tools of its own for. What is
not passed is in a file beside this, with the reason; whatever fails beyond that, or passes without being expected to, is an error."""

import os
import pathlib
import socket
import threading

import gateway
import node_wheel

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
REVISIONS = ["2025-11-25", "2026-07-28"]
HERE = pathlib.Path(__file__).parent


def relay(path):
    """A port that leads to a socket: the suite cannot send a credential, and the user of the socket needs none."""

    def carry(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept():
        while True:
            client, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(path))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


node_wheel.installed(SUITE)
with gateway.served():
    port = relay(pathlib.Path(os.environ["CASEMATE_STATE_DIR"]) / "run/casemate.sock")
    for revision in REVISIONS:
        words = ["server", "--url", f"http://127.0.0.1:{port}/mcp", "--requirements", revision]
        words += ["--expected-failures", HERE / f"mcp_conformance_{revision}.yml"]
        ran = node_wheel.ran("conformance", words)
        summary = ran.stdout[ran.stdout.rfind("=== SUMMARY ===") :]
        print(summary, ran.stderr[-2_000:], flush=True)
        gateway.checked(ran.returncode == 0, f"conformance, {revision}: nothing fails that is not expected to")
