"""LangChain's own tests of sandboxes, through its client of E2B."""

import os
import pathlib
import subprocess
import sys
import tempfile

from e2b_server import served

TESTS = '''
import e2b
import pytest
from langchain_e2b import E2BSandbox
from langchain_tests.integration_tests import SandboxIntegrationTests


class TestE2B(SandboxIntegrationTests):
    @pytest.fixture(scope="class")
    def sandbox(self):
        made = e2b.Sandbox.create(timeout=600)
        try:
            yield E2BSandbox(sandbox=made, timeout=60)
        finally:
            made.kill()
'''

with served(sys.argv[1]) as environment, tempfile.TemporaryDirectory() as directory:
    tests = pathlib.Path(directory) / "test_sandbox.py"
    tests.write_text(TESTS)
    words = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "--timeout", "120", "-p", "no:cacheprovider"]
    ended = subprocess.run([*words, str(tests)], cwd=directory, env={**os.environ, **environment})
sys.exit(ended.returncode)
