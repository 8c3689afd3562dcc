"""The Inspector of the Model Context Protocol, as a program: what it finds wrong with our tools, in both eras of the protocol, and whether
it can call them."""

import json
import tempfile

from gateway import checked, served
from node_wheel import installed, ran

INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"

installed(INSPECTOR)
with served() as (address, key), tempfile.TemporaryDirectory() as home:

    def inspected(era, method, *words):
        server = ["--cli", "--server-url", f"http://{address}/mcp", "--transport", "http", "--protocol-era", era]
        server += ["--header", f"Authorization: Bearer {key}", "--format", "json", "--method", method]
        # It keeps things in its home.
        return ran("mcp-inspector", [*server, *words], HOME=home)

    for era in ["legacy", "modern"]:
        listed = inspected(era, "tools/list", "--strict")
        checked(listed.returncode == 0, f"{era}: tools/list --strict: {listed.stderr[-500:]}")
        checked('"python"' in listed.stdout and '"shell"' in listed.stdout, f"{era}: the tools are there")
        called = inspected(era, "tools/call", "--tool-name", "python", "--tool-args-json", '{"code": "6 * 7"}')
        checked(called.returncode == 0, f"{era}: tools/call: {called.stderr[-500:]}")
        checked('"42' in called.stdout, f"{era}: the answer is there: {called.stdout[-500:]}")
        refused = inspected(era, "tools/call", "--tool-name", "nothing", "--tool-args-json", "{}")
        checked(refused.returncode != 0 or json.dumps("isError") in refused.stdout, f"{era}: there is no such tool")
