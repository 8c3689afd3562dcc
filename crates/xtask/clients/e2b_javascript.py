"""The SDKs of E2B for JavaScript, installed by npm beside the packages of Python, and run by Node."""

import sys

from node import ran

sys.exit(ran(["e2b@^2", "@e2b/code-interpreter@^2"], "e2b_sdk.mjs"))
