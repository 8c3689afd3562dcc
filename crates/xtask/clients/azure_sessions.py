"""LangChain, LlamaIndex, AutoGen and Semantic Kernel on pools of Azure's dynamic sessions; `DefaultAzureCredential` with nothing but
its two variables. Each: what it is for, 401, and a time that is over."""

import asyncio
import json
import os
import pathlib
import tempfile
import uuid

from gateway import checked, served


def langchain(pool, key):
    from langchain_azure_dynamic_sessions import SessionsPythonREPLTool
    from requests import HTTPError

    tool = SessionsPythonREPLTool(pool_management_endpoint=pool, access_token_provider=lambda: key)
    checked(json.loads(tool.invoke("6 * 7"))["result"] == 42, "LangChain: a result")
    tool.invoke("x = 41")
    checked(json.loads(tool.invoke("print(x + 1)"))["stdout"] == "42\n", "LangChain: variables stay")
    failed = tool.execute("1 / 0")
    checked(failed["status"] == "Failure" and "ZeroDivisionError" in failed["stderr"], "LangChain: an error")
    tool.upload_file(local_file_path=__file__)
    name = pathlib.Path(__file__).name
    checked([file.filename for file in tool.list_files()] == [name], "LangChain: a file is uploaded")
    content = tool.download_file(remote_file_path=name).read()
    checked(content == pathlib.Path(__file__).read_bytes(), "LangChain: and comes back whole")
    seen = json.loads(tool.invoke(f"len(open('/mnt/data/{name}').read())"))
    checked(seen["result"] == len(content.decode()), "LangChain: programs see it in /mnt/data")
    tool.delete_session()
    checked(tool.list_files() == [], "LangChain: a session ends with its files")
    try:
        SessionsPythonREPLTool(pool_management_endpoint=pool, access_token_provider=lambda: "no").execute("1")
        checked(False, "LangChain: 401")
    except HTTPError as error:
        checked(error.response.status_code == 401, "LangChain: 401")
        checked(error.response.json()["error"]["code"], "LangChain: in the form of Azure's errors")
    try:
        SessionsPythonREPLTool(pool_management_endpoint=pool + "x", access_token_provider=lambda: key).execute("1")
        checked(False, "LangChain: no such pool")
    except HTTPError as error:
        checked("there are serve" in error.response.json()["error"]["message"], "LangChain: no such pool, and which there are")


def langchain_bash(pool, key):
    from langchain_azure_dynamic_sessions import SessionsBashTool

    tool = SessionsBashTool(pool_management_endpoint=pool, access_token_provider=lambda: key)
    said = str(tool.invoke("echo hello; exit 3"))
    checked("hello" in said and "3" in said, "LangChain: a shell")


def identity(pool, address, key):
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import DefaultAzureCredential
    from langchain_azure_dynamic_sessions import SessionsPythonREPLTool
    from llama_index.tools.azure_code_interpreter import AzureCodeInterpreterToolSpec

    os.environ["IDENTITY_ENDPOINT"] = f"{address}/msi/token"
    os.environ["IDENTITY_HEADER"] = key
    tool = SessionsPythonREPLTool(pool_management_endpoint=pool)
    checked(json.loads(tool.invoke("6 * 7"))["result"] == 42, "LangChain: DefaultAzureCredential, unmodified")
    spec = AzureCodeInterpreterToolSpec(pool_management_endpoint=pool)
    result = spec.code_interpreter("6 * 7")["properties"]["result"]
    checked(result == 42, "LlamaIndex: DefaultAzureCredential, unmodified")
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(b"a,b\n")
        file.flush()
        uploaded = spec.upload_file(local_file_path=file.name)
        checked(uploaded[0].size_in_bytes == 4, "LlamaIndex: a file")
    os.environ["IDENTITY_HEADER"] = "no"
    try:
        DefaultAzureCredential().get_token("https://dynamicsessions.io/.default")
        checked(False, "azure-identity: a wrong key gets no token")
    except ClientAuthenticationError:
        checked(True, "azure-identity: a wrong key gets no token")


async def autogen(pool, key):
    from autogen_core import CancellationToken
    from autogen_core.code_executor import CodeBlock
    from autogen_ext.code_executors.azure import ACADynamicSessionsCodeExecutor
    from azure.core.credentials import AccessToken

    class Credential:
        def __init__(self, token):
            self.token = token

        def get_token(self, *_, **__):
            return AccessToken(self.token, 2**33)

    block = [CodeBlock(code="print(6 * 7)", language="python")]
    executor = ACADynamicSessionsCodeExecutor(pool, Credential(key))
    # It asks for the packages first, with a module that not every Python has.
    executor._available_packages = set()
    ran = await executor.execute_code_blocks(block, CancellationToken())
    checked(ran.exit_code == 0 and "42" in ran.output, "AutoGen: a result")
    checked(await executor.get_file_list(CancellationToken()) == [], "AutoGen: files")
    slow = ACADynamicSessionsCodeExecutor(pool, Credential(key), timeout=2)
    slow._available_packages = set()
    await slow.execute_code_blocks(block, CancellationToken())
    try:
        sleeps = [CodeBlock(code="import time; time.sleep(60)", language="python")]
        await slow.execute_code_blocks(sleeps, CancellationToken())
        checked(False, "AutoGen: a time that is over")
    except asyncio.TimeoutError:
        checked(True, "AutoGen: a time that is over")
    stranger = ACADynamicSessionsCodeExecutor(pool, Credential("no"))
    stranger._available_packages = set()
    try:
        await stranger.execute_code_blocks(block, CancellationToken())
        checked(False, "AutoGen: 401")
    except ConnectionError:
        checked(True, "AutoGen: 401")


async def semantic_kernel(pool, key, certificate):
    import ssl

    from httpx import AsyncClient
    from semantic_kernel.core_plugins.sessions_python_tool.sessions_python_plugin import SessionsPythonTool
    from semantic_kernel.core_plugins.sessions_python_tool.sessions_python_settings import SessionsPythonSettings
    from semantic_kernel.exceptions.function_exceptions import FunctionExecutionException

    def tool(token, **settings):
        settings = SessionsPythonSettings(session_id=str(uuid.uuid4()), **settings)
        trust = ssl.create_default_context(cafile=certificate)
        client = AsyncClient(verify=trust, timeout=30)
        return SessionsPythonTool(
            auth_callback=lambda: token, pool_management_endpoint=pool, http_client=client, settings=settings
        )

    said = await tool(key).execute_code("6 * 7")
    checked("Status:\nSuccess\nResult:\n42\n" in said, "Semantic Kernel: a result, over TLS")
    said = await tool(key, timeout_in_sec=1).execute_code("import time; time.sleep(60)")
    checked("Status:\nFailure" in said and "its time was over" in said, "Semantic Kernel: a time that is over")
    try:
        await tool("no").execute_code("1")
        checked(False, "Semantic Kernel: 401")
    except FunctionExecutionException as error:
        checked("401" in str(error), "Semantic Kernel: 401")


with served() as (address, key):
    address = f"http://{address}"
    pool = f"{address}/pool/serve"
    langchain(pool, key)
    langchain_bash(pool, key)
    identity(pool, address, key)
    asyncio.run(autogen(pool, key))
with served(tls=True) as (address, key, certificate):
    asyncio.run(semantic_kernel(f"https://{address}/pool/serve", key, certificate))
