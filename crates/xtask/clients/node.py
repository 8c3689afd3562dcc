"""Clients of JavaScript: installed by npm below the environment of Python that runs this, and run by Node on a server of ours."""

import os
import pathlib
import shutil
import subprocess
import sys

from e2b_server import served


def ran(packages, script):
    """How a script of this directory ended, which uses these packages."""
    directory = pathlib.Path(sys.prefix) / "node"
    directory.mkdir(exist_ok=True)
    (directory / "package.json").write_text("{}")
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], cwd=directory, check=True)
    # Node looks for packages beside the script.
    shutil.copy(pathlib.Path(__file__).with_name(script), directory / script)
    with served(sys.argv[1]) as environment:
        return subprocess.run(["node", script], cwd=directory, env={**os.environ, **environment}).returncode
