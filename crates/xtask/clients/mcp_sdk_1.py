"""Version 1 of the official SDK for Python: revisions up to 2025-11-25, over both transports."""

import asyncio
import base64
import os
from datetime import timedelta

from gateway import CASEMATE, checked, served
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

TOOLS = ["python", "shell", "list_files", "read_file", "write_file", "call_result"]


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
    write = {"path": "p.png", "content": picture, "encoding": "base64"}
    await session.call_tool("write_file", write)
    read = await session.call_tool("read_file", {"path": "p.png"})
    checked(read.content[1].data == picture, f"{how}: files and images")
    told = []

    async def progress(done, total, message):
        told.append(done)

    await session.call_tool("shell", {"code": "sleep 5"}, progress_callback=progress)
    checked(told and told == sorted(told), f"{how}: progress")
    unknown = await session.call_tool("call_result", {"decision": "dec_0198c7e4000070008000000000000000"})
    checked(unknown.isError and "call_unknown" in unknown.content[0].text, f"{how}: a refusal is readable")
    try:
        long = session.call_tool("shell", {"code": "sleep 600"}, read_timeout_seconds=timedelta(seconds=2))
        await long
        late = None
    except Exception as error:
        late = str(error)
    checked(late and "Timed out" in late, f"{how}: the client does not wait")


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


with served() as (address, key):
    asyncio.run(over_stdio())
    asyncio.run(over_http(address, key))
