"""The official SDK for Python against a gateway of ours: python mcp.py CASEMATE, in an environment that has `mcp`."""

import asyncio
import base64
import os
import pathlib
import subprocess
import sys
import tempfile
from datetime import timedelta

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

CASEMATE = sys.argv[1]
CALLERS = 'audience = "casemate-run"\n[api_keys]\n'
PROFILE = pathlib.Path(__file__).parents[2] / "policy/profiles/serve.toml"
TOOLS = ["python", "shell", "list_files", "read_file", "write_file", "call_result"]


def checked(condition, what):
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"ok: {what}")


def serve(state):
    profile = PROFILE.read_text().replace(
        '["casemate:local"]',
        '["casemate:local", "casemate:api-keys"]\nallowed_tenants = ["local", "acme"]',
    )
    (state / "profile.toml").write_text(profile)
    callers = state / "callers.toml"
    callers.write_text(CALLERS)
    callers.chmod(0o600)
    words = ["serve", "--listen", "127.0.0.1:0", "--callers", callers, "--profile", state / "profile.toml"]
    process = subprocess.Popen([CASEMATE, *words], stderr=subprocess.PIPE, text=True)
    address = None
    for line in process.stderr:
        if line.startswith("casemate: listening on 127.0.0.1:"):
            address = line.split()[-1]
        if "casemate.sock" in line:
            return process, address
    raise SystemExit("failed: the gateway does not start")


def new_key():
    words = ["callers", "keys", "new", "--subject", "ci", "--tenant", "acme", "--role", "operator"]
    words += ["--scope", "code:execute"]
    return subprocess.run([CASEMATE, *words], capture_output=True, text=True, check=True).stdout.strip()


async def use(session, how):
    begun = await session.initialize()
    checked(begun.serverInfo.name == "casemate", f"{how}: initialize, revision {begun.protocolVersion}")
    listed = await session.list_tools()
    checked([tool.name for tool in listed.tools] == TOOLS, f"{how}: list_tools")
    # The SDK compares structured content with the output schema by itself.
    first = await session.call_tool("python", {"code": "x = 6 * 7\nx"})
    checked(not first.isError and first.content[0].text == "42", f"{how}: python")
    again = await session.call_tool("python", {"code": "print(x)"})
    checked(again.structuredContent["stdout"] == "42\n", f"{how}: variables stay")
    failed = await session.call_tool("shell", {"code": "echo no >&2; exit 3"})
    checked(failed.isError and failed.structuredContent["exit_code"] == 3, f"{how}: shell")
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
    await session.call_tool("write_file", {"path": "p.png", "content": picture, "encoding": "base64"})
    read = await session.call_tool("read_file", {"path": "p.png"})
    checked(read.content[1].type == "image" and read.content[1].data == picture, f"{how}: files and images")
    told = []

    async def progress(done, total, message):
        told.append(done)

    await session.call_tool("shell", {"code": "sleep 5"}, progress_callback=progress)
    checked(told == sorted(told) and told, f"{how}: progress")
    unknown = await session.call_tool("call_result", {"decision": "dec_0198c7e4000070008000000000000000"})
    checked(unknown.isError and "call_unknown" in unknown.content[0].text, f"{how}: a refusal is readable")
    try:
        await session.call_tool("shell", {"code": "sleep 600"}, read_timeout_seconds=timedelta(seconds=2))
        checked(False, f"{how}: a timeout of the client")
    except Exception as error:
        checked("Timed out" in str(error), f"{how}: a timeout of the client")


async def over_stdio():
    server = StdioServerParameters(command=CASEMATE, args=["mcp"], env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await use(session, "stdio")


async def over_http(address, key):
    headers = {"Authorization": f"Bearer {key}"}
    connected = streamablehttp_client(f"http://{address}/mcp", headers=headers)
    async with connected as (read, write, conversation), ClientSession(read, write) as session:
        await use(session, "http")
        checked(conversation(), "http: there is a session of the protocol")


def main():
    with tempfile.TemporaryDirectory() as directory:
        state = pathlib.Path(directory)
        os.environ["CASEMATE_STATE_DIR"] = str(state / "state")
        process, address = serve(state)
        try:
            asyncio.run(over_stdio())
            asyncio.run(over_http(address, new_key()))
        finally:
            process.terminate()
            process.wait()


main()
