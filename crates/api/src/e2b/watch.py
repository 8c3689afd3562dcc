"""Says on its standard output what happens in a directory, one JSON object a line; first, that it looks.

Arguments: the directory, and 1 if what is below it counts too.
"""

import ctypes
import json
import os
import struct
import sys

ATTRIB, MODIFY, CLOSE_WRITE = 0x4, 0x2, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
ONLYDIR, ISDIR, IGNORED, OVERFLOW = 0x1000000, 0x40000000, 0x8000, 0x4000
MASK = ATTRIB | MODIFY | MOVED_FROM | MOVED_TO | CREATE | DELETE | ONLYDIR
NAMES = ((CREATE, "create"), (MOVED_TO, "create"), (MODIFY, "write"), (DELETE, "remove"), (MOVED_FROM, "rename"), (ATTRIB, "chmod"))
MAX_DIRECTORIES = 4096

root, recursive = sys.argv[1], sys.argv[2] == "1"
libc = ctypes.CDLL(None, use_errno=True)
if not os.path.lexists(root):
    sys.exit(40)
if not os.path.isdir(root):
    sys.exit(42)
queue = libc.inotify_init1(0o2000000)
if queue < 0:
    sys.exit("inotify: " + os.strerror(ctypes.get_errno()))
directories = {}
# A file that is uploaded has such a name until it is whole; then it is moved.
UPLOAD = ".casemate-upload-"
uploads = set()


def tell(name, kind):
    sys.stdout.write(json.dumps({"name": name, "type": kind}) + "\n")


def watch(inner, found=False):
    """Watches a directory below the root; what was in it before it was watched is told if it is new itself."""
    path = os.path.join(root, inner) if inner else root
    if len(directories) >= MAX_DIRECTORIES:
        return
    number = libc.inotify_add_watch(queue, os.fsencode(path), MASK)
    if number < 0:
        return
    directories[number] = inner
    if not recursive:
        return
    try:
        entries = list(os.scandir(path))
    except OSError:
        return
    for entry in entries:
        name = os.path.join(inner, entry.name)
        if found:
            tell(name, "create")
        if entry.is_dir(follow_symlinks=False):
            watch(name, found)


watch("")
sys.stdout.write("{}\n")
sys.stdout.flush()
while True:
    data = os.read(queue, 65536)
    last = None
    while data:
        number, mask, cookie, length = struct.unpack_from("iIII", data)
        name = os.fsdecode(data[16 : 16 + length].rstrip(b"\0"))
        data = data[16 + length :]
        if mask & IGNORED:
            directories.pop(number, None)
        inner = directories.get(number)
        if inner is None or not name:
            continue
        if name.startswith(UPLOAD):
            if mask & MOVED_FROM:
                uploads.add(cookie)
            continue
        if name[0] == "#" and name[1:].isdigit() and not os.path.lexists(os.path.join(root, inner, name)):
            # A file that has no name yet.
            continue
        name = os.path.join(inner, name).encode("utf-8", "replace").decode()
        for bit, kind in NAMES:
            # Many writes one after the other are one.
            if mask & bit and (name, kind) != last:
                tell(name, kind)
                last = (name, kind)
        if mask & MOVED_TO and cookie in uploads:
            uploads.discard(cookie)
            tell(name, "write")
        if recursive and mask & ISDIR and mask & (CREATE | MOVED_TO):
            watch(name, True)
    sys.stdout.flush()
