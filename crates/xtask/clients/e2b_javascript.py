"""The SDKs of E2B for JavaScript, installed by npm beside the packages of Python, and run by Node."""

import os
import pathlib
import shutil
import subprocess
import sys

from e2b_server import served

PACKAGES = ["e2b@^2", "@e2b/code-interpreter@^2"]
SCRIPT = pathlib.Path(__file__).with_name("e2b_sdk.mjs")

directory = pathlib.Path(sys.prefix) / "node"
directory.mkdir(exist_ok=True)
(directory / "package.json").write_text("{}")
subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES], cwd=directory, check=True)
# Node looks for packages beside the script.
shutil.copy(SCRIPT, directory / SCRIPT.name)
with served(sys.argv[1]) as environment:
    ended = subprocess.run(["node", SCRIPT.name], cwd=directory, env={**os.environ, **environment})
sys.exit(ended.returncode)
