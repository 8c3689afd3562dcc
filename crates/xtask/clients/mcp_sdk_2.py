"""Version 2 of the official SDK for Python: revisions 2025-11-25 and 2026-07-28, over both transports."""

import asyncio
import base64
import os

import httpx2
from gateway import CASEMATE, checked, served
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

TOOLS = ["python", "shell", "list_files", "read_file", "write_file", "call_result"]


async def use(client, how, revision):
    checked(client.protocol_version == revision, f"{how}: revision {revision}")
    listed = [tool.name for tool in (await client.list_tools()).tools]
    within = {}
    if "open_session" in listed:
        opened = await client.call_tool("open_session", {})
        within = {"session": opened.structured_content["session"]}
        listed.remove("open_session")
    checked(listed == TOOLS, f"{how}: list_tools")

    async def call(tool, arguments, **options):
        return await client.call_tool(tool, {**within, **arguments}, **options)

    # The SDK compares structured content with the output schema by itself.
    first = await call("python", {"code": "x = 6 * 7\nx"})
    checked(not first.is_error and first.content[0].text == "42", f"{how}: python")
    again = await call("python", {"code": "print(x)"})
    checked(again.structured_content["stdout"] == "42\n", f"{how}: variables stay")
    failed = await call("shell", {"code": "echo no >&2; exit 3"})
    checked(failed.is_error and failed.structured_content["exit_code"] == 3, f"{how}: shell")
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
    await call("write_file", {"path": "p.png", "content": picture, "encoding": "base64"})
    read = await call("read_file", {"path": "p.png"})
    checked(read.content[1].data == picture, f"{how}: files and images")
    told = []

    async def progress(done, total, message):
        told.append(done)

    await call("shell", {"code": "sleep 5"}, progress_callback=progress)
    checked(told and told == sorted(told), f"{how}: progress")
    unknown = await client.call_tool("call_result", {"decision": "dec_0198c7e4000070008000000000000000"})
    checked(unknown.is_error and "call_unknown" in unknown.content[0].text, f"{how}: a refusal is readable")
    try:
        await call("shell", {"code": "sleep 600"}, read_timeout_seconds=2)
        late = None
    except Exception as error:
        late = str(error)
    checked(late and "imed out" in late, f"{how}: the client does not wait")


async def main(address, key):
    for mode, revision in [("legacy", "2025-11-25"), ("auto", "2026-07-28")]:
        server = StdioServerParameters(command=CASEMATE, args=["mcp"], env=dict(os.environ))
        async with Client(server, mode=mode) as client:
            await use(client, f"stdio, {mode}", revision)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            connected = streamable_http_client(f"http://{address}/mcp", http_client=http)
            async with Client(connected, mode=mode) as client:
                await use(client, f"http, {mode}", revision)


with served() as (address, key):
    asyncio.run(main(address, key))
