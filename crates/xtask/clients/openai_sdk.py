"""OpenAI's SDK for Python: containers and their files, and what runs in one by the gateway's own interface."""

import json
import os
import sys
import urllib.request

from e2b_server import checked, raises, served


def containers(client):
    import openai

    made = client.containers.create(name="work", expires_after={"anchor": "last_active_at", "minutes": 5})
    checked(made.id.startswith("cntr_") and made.status == "running" and made.name == "work", "containers.create")
    checked(made.expires_after.minutes == 5 and made.network_policy.type == "disabled", "what it is given is said")
    checked(made.memory_limit == "4g" and made._request_id.startswith("dec_"), "and under which name it is on record")
    again = client.containers.retrieve(made.id)
    checked((again.id, again.created_at) == (made.id, made.created_at), "containers.retrieve")
    others = [client.containers.create(name=f"other {number}").id for number in range(3)]
    listed = [one.id for one in client.containers.list(limit=2)]
    checked(listed == [*reversed(others), made.id], "containers.list, page by page, the newest first")
    listed = [one.id for one in client.containers.list(limit=1, order="asc")]
    checked(listed == [made.id, *others], "the oldest first")
    checked([one.id for one in client.containers.list(name="work")] == [made.id], "by name")
    for other in others:
        client.containers.delete(other)
    checked([one.id for one in client.containers.list()] == [made.id], "containers.delete")
    error = raises(openai.NotFoundError, "a container that is deleted", lambda: client.containers.retrieve(others[0]))
    checked(error.code == "container_unknown" and error.type == "invalid_request_error", "in the form of OpenAI's errors")
    raises(openai.NotFoundError, "one that never was", lambda: client.containers.retrieve("cntr_x"))
    raises(openai.BadRequestError, "more memory than there is", lambda: client.containers.create(name="x", memory_limit="64g"))
    wider = {"type": "allowlist", "allowed_domains": ["example.com"]}
    error = raises(openai.BadRequestError, "more network", lambda: client.containers.create(name="x", network_policy=wider))
    checked("decided by the profile" in error.message, "and by whom it is decided")
    client.containers.create(name="x", network_policy={"type": "disabled"}, memory_limit="1g")
    raises(openai.BadRequestError, "files from elsewhere", lambda: client.containers.create(name="x", file_ids=["file-1"]))
    wrong = client.with_options(api_key="cm_wrong")
    raises(openai.AuthenticationError, "a wrong key", lambda: wrong.containers.list())
    raises(openai.NotFoundError, "another part of OpenAI", lambda: client.models.list())
    return made.id


def run(container, script):
    """A call in the container's session."""
    base = os.environ["OPENAI_BASE_URL"].removesuffix("/openai/v1")
    call = {"session": container.replace("cntr_", "ses_"), "tool": "shell", "argv": ["/bin/sh", "-c", script]}
    key = os.environ["OPENAI_API_KEY"]
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{base}/v1/calls", json.dumps(call).encode(), headers)
    return json.load(urllib.request.urlopen(request))["stdout"]


def files(client, container):
    import openai

    files = client.containers.files
    brought = files.create(container, file=("notes.txt", b"hello"))
    checked(brought.id.startswith("cfile_") and brought.bytes == 5, "files.create")
    checked((brought.path, brought.source) == ("/mnt/data/notes.txt", "user"), "where it is, and who brought it")
    content = files.content.retrieve(brought.id, container_id=container)
    checked(content.read() == b"hello", "files.content.retrieve")
    whole = os.urandom(3 << 20)
    large = files.create(container, file=("large.bin", whole))
    checked(files.content.retrieve(large.id, container_id=container).read() == whole, "a larger one comes back whole")
    said = run(container, "cat /mnt/data/notes.txt; mkdir -p /mnt/data/out; echo made > /mnt/data/out/b.txt")
    checked(said == "hello", "programs of the container see it")
    listed = {one.path: one for one in files.list(container, limit=1, order="asc")}
    paths = {"/mnt/data/notes.txt", "/mnt/data/large.bin", "/mnt/data/out/b.txt"}
    checked(listed.keys() == paths, "files.list, page by page, in every directory")
    made = listed["/mnt/data/out/b.txt"]
    checked(made.source == "assistant", "what programs made is the assistant's")
    found = files.retrieve(made.id, container_id=container)
    checked((found.bytes, found.container_id) == (5, container), "files.retrieve")
    files.delete(brought.id, container_id=container)
    raises(openai.NotFoundError, "files.delete", lambda: files.retrieve(brought.id, container_id=container))
    raises(openai.NotFoundError, "no content", lambda: files.content.retrieve(brought.id, container_id=container))
    raises(openai.NotFoundError, "an id of no file", lambda: files.retrieve("cfile_%", container_id=container))
    raises(openai.NotFoundError, "a file of OpenAI's", lambda: files.create(container, file_id="file-1"))
    error = raises(openai.BadRequestError, "a way out", lambda: files.create(container, file=("../../x", b"")))
    checked(error.request_id is None or error.request_id.startswith("dec_"), "what is refused is named, if it is on record")
    client.containers.delete(container)
    raises(openai.NotFoundError, "a container that is gone", lambda: files.list(container))


def main():
    import openai

    client = openai.OpenAI(max_retries=0)
    files(client, containers(client))


if __name__ == "__main__":
    with served(sys.argv[1]) as environment:
        os.environ.update(environment)
        main()
