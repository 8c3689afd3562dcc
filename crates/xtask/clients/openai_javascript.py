"""OpenAI's SDK for JavaScript, installed by npm beside the packages of Python, and run by Node."""

import sys

from node import ran

sys.exit(ran(["openai@^6"], "openai_sdk.mjs"))
