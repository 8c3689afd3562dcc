"""Cloudflare's bridge as the Agents SDK of OpenAI speaks to it: commands, files, and a workspace that is kept and comes back."""

import asyncio
import io
import os
import sys
from pathlib import Path

from e2b_server import checked, served


async def used(client, options):
    session = await client.create(options=options)
    async with session:
        checked(await session.running(), "create, running")
        ran = await session.exec("echo out; echo err >&2; exit 3", shell=True)
        checked((ran.stdout, ran.stderr, ran.exit_code) == (b"out\n", b"err\n", 3), "exec")
        whole = os.urandom(1 << 20)
        await session.write(Path("a/large.bin"), io.BytesIO(whole))
        checked((await session.read(Path("a/large.bin"))).read() == whole, "write, read")
        ran = await session.exec("wc -c < /workspace/a/large.bin", shell=True)
        checked(ran.stdout.strip() == b"1048576", "commands see files")
        names = [entry.path for entry in await session.ls(Path("a"))]
        checked(any(str(name).endswith("large.bin") for name in names), "ls")
        try:
            await session.read(Path("none"))
            raise SystemExit("failed: a file that is not there")
        except Exception as error:
            checked(type(error).__name__ == "WorkspaceReadNotFoundError", f"a file that is not there: {type(error).__name__}")
        archive = (await session.persist_workspace()).read()
        await session.exec("rm -r /workspace/a", shell=True)
        await session.hydrate_workspace(io.BytesIO(archive))
        checked((await session.read(Path("a/large.bin"))).read() == whole, "persist, hydrate")
        late = await session.exec("sleep 60", shell=True, timeout=1)
        checked(late.exit_code == 124, "a command whose time is over")
    await client.delete(session)


def main():
    from agents.extensions.sandbox.cloudflare import CloudflareSandboxClient, CloudflareSandboxClientOptions

    address = os.environ["OPENAI_BASE_URL"].removesuffix("/openai/v1") + "/cloudflare"
    options = CloudflareSandboxClientOptions(address, os.environ["OPENAI_API_KEY"])
    asyncio.run(used(CloudflareSandboxClient(), options))
    try:
        asyncio.run(used(CloudflareSandboxClient(), CloudflareSandboxClientOptions(address, "cm_wrong")))
        raise SystemExit("failed: a wrong key")
    except Exception as error:
        checked("401" in str(error), "a wrong key")


if __name__ == "__main__":
    with served(sys.argv[1]) as environment:
        os.environ.update(environment)
        main()
