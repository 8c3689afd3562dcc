"""The warm interpreter: imports an image's usual modules once, and hands out copies of itself.

Three kinds of process run this file, each a copy of the one before:

- the *template*, in the nursery, has no privilege and never runs a tool's code; it sends a copy into each new sandbox;
- the *zygote*, one in each sandbox, has the privileges in there that entering a call's namespaces takes, and never runs a
  tool's code either; it sends a copy into the place of each call;
- the *interpreter* of a place gives up everything, says so, and waits for the cell that it is there for.

`given` is what the keeper gave the template: our other modules, the modules to import, and the tables of what programs may do.
"""

import _signal as signal  # What `signal` adds are enumerations, and looking one up takes memory in every copy.
import array
import builtins
import ctypes
import os
import resource  # noqa: F401 - os.wait4 imports it, which must not look like a touch
import select
import socket
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
SANDBOX = (
    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
)

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# SECBIT_NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE with their locks, and KEEP_CAPS_LOCKED: linux/securebits.h.
SECUREBITS = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80

CAP_SYS_CHROOT = 18
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
# What entering the namespaces of a process of the same user takes: setns(2).
ZYGOTE_CAPABILITIES = (CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_ADMIN)

# The same on x86-64 and AArch64.
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446
SYS_SECCOMP = 317 if os.uname().machine == "x86_64" else 277

# Frames between an interpreter and the first process of its place: crates/frames.
TO_CELL = 6
FROM_HELLO, FROM_STDOUT, FROM_STDERR, FROM_CELL_ENDED, FROM_RESULTS = 1, 3, 4, 9, 8
KINDS = {"stdout": FROM_STDOUT, "stderr": FROM_STDERR, "results": FROM_RESULTS}
MAX_CHUNK_BYTES = 64 * 1024

# The word with which an interpreter is asked for that has its own copies of what a cell will write to.
READY = b"R"

# madvise(2), and the size of the large pages of x86-64, and of AArch64 with small ones of 4 KiB.
MADV_COLLAPSE = 25
LARGE_PAGE = 2 << 20

# Exit codes of a zygote that must be replaced.
TOUCHED = 70


def check(result):
    """The result of a C call, or its error."""
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def receive(link, descriptors):
    """The next message with its descriptors; nothing at the end."""
    data, control, _, _ = link.recvmsg(64, socket.CMSG_SPACE(descriptors * 4), getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    fds = array.array("i")
    for level, kind, content in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


def close_all_but(kept):
    """Closes every descriptor above the standard streams that is not in `kept`."""
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 0x7FFFFFFF)


# The template.


def use_large_pages():
    """Gathers this process's memory in large pages.

    Each copy of the process has an entry for every page, to be made at its start and given back at its end; for a large
    page that is one until the copy writes to a part of it, and still few steps then.
    """
    # After an import of pandas there are thousands of small pages in mappings that are long enough.
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    for fields in lines:
        if fields[1] != "rw-p" or (len(fields) > 5 and fields[5] != "[heap]"):
            continue
        start, end = (int(address, 16) for address in fields[0].split("-"))
        start = -(-start // LARGE_PAGE) * LARGE_PAGE
        size = end // LARGE_PAGE * LARGE_PAGE - start
        if size > 0:
            # A kernel that knows no such thing, or has no such page to give, leaves all as it is.
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_COLLAPSE)


def template():
    link = socket.socket(fileno=3)
    while True:
        word, fds = receive(link, 16)
        if not word:
            os._exit(0)
        child = os.fork()
        if child == 0:
            leave(0 if send_zygote(link, fds) else 1)
        os.waitpid(child, 0)
        for fd in fds:
            os.close(fd)


def leave(code):
    os._exit(code)


def send_zygote(link, fds):
    """Enters a sandbox, and leaves a copy there; returns in the one that came along."""
    first, own, *tasks = fds
    try:
        for task in tasks:
            os.write(task, b"0")
        # One call: from a user namespace of its own on, this process could not enter the others one by one.
        check(libc.setns(first, SANDBOX))
        # Only a child is in the new pid namespace.
        if os.fork():
            return True
        zygote(own)
    except BaseException as error:
        say_why("cannot enter the sandbox", error)
        return False
    finally:
        leave(1)


def say_why(what, error):
    # Where the keeper logs.
    os.write(2, ("casemate: the warm interpreter %s: %s: %s\n" % (what, type(error).__name__, error)).encode())


# The zygote.


def zygote(fd):
    os.setsid()
    # It dies with the sandbox's first process, which is its parent as far as the kernel is concerned.
    os.chdir("/workspace")
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)
    link = socket.socket(fileno=os.dup(fd))
    pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    alarm, alarm_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    mine = {link.fileno(), pids, alarm, alarm_write}
    close_all_but(mine)
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == -1:
            break
    check(libc.prctl(PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0))
    check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    set_capabilities(ZYGOTE_CAPABILITIES)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    # Nobody in the sandbox looks into it.
    check(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
    signal.signal(signal.SIGCHLD, wake)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(alarm_write, warn_on_full_buffer=False)
    children = {}
    untouched = look(children)
    while True:
        ready, _, _ = select.select([link, alarm], [], [])
        if alarm in ready:
            try:
                os.read(alarm, 4096)
            except BlockingIOError:
                pass
            bury(children)
        if link not in ready:
            continue
        if look(children) != untouched:
            say_why("is not as it was", RuntimeError("it is replaced"))
            os._exit(TOUCHED)
        word, fds = receive(link, 16)
        if not word:
            os._exit(0)
        place, own, end, setup, *tasks = fds
        # The child is born into the place's pid namespace.
        check(libc.setns(place, CLONE_NEWPID))
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            interpreter(place, own, setup, tasks, word == READY)
        check(libc.setns(pids, CLONE_NEWPID))
        children[child] = end
        for fd in fds:
            if fd != end:
                os.close(fd)


def look(children):
    """What would be different if a tool's code had run here, in numbers: to look at objects would unshare their pages."""
    return (
        threads(),
        len(os.listdir("/proc/self/fd")) - len(children),
        len(sys.modules),
        len(sys.meta_path),
        len(sys.path),
        len(vars(builtins)),
        len(os.environ),
        signal.getsignal(signal.SIGCHLD) is wake,
        sys.gettrace() is None and sys.getprofile() is None,
    )


def wake(number, frame):
    """Makes a signal end a wait."""


def threads():
    return os.stat("/proc/self/task").st_nlink


def bury(children):
    """Says of each child that has ended how it ended: status, CPU time, largest resident memory."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        end = children.pop(pid, None)
        if end is None:
            continue
        cpu_us = int((usage.ru_utime + usage.ru_stime) * 1_000_000)
        try:
            os.write(end, struct.pack("<iQQ", status, cpu_us, usage.ru_maxrss * 1024))
        except OSError:
            # Its place is gone.
            pass
        os.close(end)


# The interpreter of a place.


def interpreter(place, own, setup, tasks, ready):
    code = 1
    try:
        link, setup = socket.socket(fileno=own), socket.socket(fileno=setup)
        prepare_place(link, setup, place, tasks, ready)
        code = serve(link, ready)
    except BaseException as error:
        say_why("cannot serve a call", error)
    finally:
        os._exit(code)


def prepare_place(link, setup, place, tasks, ready):
    for task in tasks:
        os.write(task, b"0")
    check(libc.setns(place, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET))
    os.chdir("/workspace")
    os.umask(0o022)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, streams = receive(link, 3)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    close_all_but({link.fileno(), setup.fileno()})
    if ready:
        casemate_cell.after_fork()
        rehearse()
    # A change of namespaces took it away; without it the program cannot see its own /proc/self.
    check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
    try:
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(score, b"1000")
        os.close(score)
    except OSError:
        pass
    set_capabilities(())
    landlock = restrict_files()
    listener = restrict_calls()
    setup.sendmsg(
        [b"I" + bytes([landlock])],
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))],
    )
    os.close(listener)
    setup.close()
    send(link, FROM_HELLO, struct.pack("<I", os.getpid()))


def rehearse():
    """Does what comes before and around a cell, so that this process has its own copy of the memory that it takes."""
    casemate_cell.ready()
    words = [b"<cell>"]
    pairs = [os.fsencode(name) + b"=" + os.fsencode(value) for name, value in os.environ.items()]
    payload = bytearray()
    for texts in (words, pairs):
        payload += struct.pack("<I", len(texts)) + b"".join(struct.pack("<I", len(text)) + text for text in texts)
    _, env, _, _, _ = parse_cell(bytes(payload + b"\1\0" + struct.pack("<I", 1) + b"1"))
    set_environment(env)


def set_environment(env):
    os.environ.clear()
    os.environ.update(env)
    if env.get("TZ"):
        time.tzset()


def serve(link, is_itself):
    """Runs the cell, or the cells, that come. One that waits for long is made to differ from its siblings only when it has to."""
    kernel = None
    while True:
        frame = next_frame(link)
        if frame is None:
            return 0
        kind, payload = frame
        if kind != TO_CELL:
            return 1
        if not is_itself:
            casemate_cell.after_fork()
            is_itself = True
        argv, env, echo, stay, source = parse_cell(payload)
        # Nothing has run here yet that could have changed it behind Python's back.
        if kernel is not None or dict(os.environ) != env:
            set_environment(env)

        def emit(kind, data):
            for start in range(0, len(data), MAX_CHUNK_BYTES):
                send(link, KINDS[kind], data[start : start + MAX_CHUNK_BYTES])

        def settle():
            casemate_streams.wait_until_read(link.fileno())

        if not stay:
            name = argv[0] if argv and argv[0].endswith(".py") else "<cell>"
            code = casemate_cell.run(source, argv, echo, emit, filename=name, settle=settle)
            casemate_cell.finish()
            # Locks and ports are free when the end is known.
            close_all_but({link.fileno()})
            send(link, FROM_CELL_ENDED, bytes([code & 0xFF]))
            return code
        if kernel is None:
            kernel = casemate_cell.Kernel()
        code = kernel.run_cell(source, argv, emit, echo=echo, settle=settle)
        send(link, FROM_CELL_ENDED, bytes([code & 0xFF]))


def send(link, kind, payload):
    link.sendall(struct.pack("<IB", len(payload), kind) + payload)


def read_exactly(link, count):
    data = bytearray()
    while len(data) < count:
        piece = link.recv(min(count - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)


def next_frame(link):
    # An interrupt that comes between two cells is for none of them.
    while True:
        try:
            head = read_exactly(link, 5)
            if head is None:
                return None
            length, kind = struct.unpack("<IB", head)
            payload = read_exactly(link, length)
            return None if payload is None else (kind, payload)
        except KeyboardInterrupt:
            continue


def parse_cell(payload):
    at = 0

    def number(form):
        nonlocal at
        (value,) = struct.unpack_from(form, payload, at)
        at += struct.calcsize(form)
        return value

    def text():
        nonlocal at
        length = number("<I")
        value = payload[at : at + length]
        at += length
        return value

    argv = [os.fsdecode(text()) for _ in range(number("<I"))]
    pairs = [os.fsdecode(text()).partition("=") for _ in range(number("<I"))]
    echo, stay = bool(number("<B")), bool(number("<B"))
    return argv, {name: value for name, _, value in pairs}, echo, stay, text()


# Giving up privileges.


def set_capabilities(capabilities):
    low = high = 0
    for capability in capabilities:
        if capability < 32:
            low |= 1 << capability
        else:
            high |= 1 << (capability - 32)
    # capset(2), version 3: effective, permitted and inheritable of each half.
    head = struct.pack("<Ii", 0x20080522, 0)
    data = struct.pack("<IIIIII", low, low, 0, high, high, 0)
    check(libc.capset(head, data))


FS_EXECUTE, FS_WRITE_FILE, FS_READ_FILE, FS_READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
FS_REFER, FS_TRUNCATE, FS_IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1, 2


def restrict_files():
    """The rules on files: 2 when all are in force, 1 when a part of them, 0 when this kernel has none."""
    version = libc.syscall(SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return 0
    every = (1 << 13) - 1
    for since, right in ((2, FS_REFER), (3, FS_TRUNCATE), (5, FS_IOCTL_DEV)):
        if version >= since:
            every |= right
    scope = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL if version >= 6 else 0
    attributes = struct.pack("<QQQ", every, 0, scope)
    size = len(attributes) if version >= 6 else 16 if version >= 4 else 8
    ruleset = check(libc.syscall(SYS_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0))
    rights = {
        "list": FS_READ_DIR,
        "execute": FS_EXECUTE | FS_READ_FILE | FS_READ_DIR,
        "devices": FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
        "write": every,
    }
    for kind, path in given["landlock"]:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rule = struct.pack("<Qi", rights[kind] & every, fd)
        check(libc.syscall(SYS_LANDLOCK_ADD_RULE, ruleset, 1, rule, 0))
        os.close(fd)
    check(libc.syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)
    return 2 if version >= 6 else 1


def restrict_calls():
    """Puts the filter of system calls in force; returns where refused calls are reported."""
    # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER
    return check(libc.syscall(SYS_SECCOMP, 1, 8, FILTER))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


# Kept here: the kernel is given a pointer to it.
INSTRUCTIONS = b"".join(struct.pack("<HBBI", *instruction) for instruction in given["seccomp"])
FILTER = ctypes.byref(Program(len(given["seccomp"]), INSTRUCTIONS))


def start():
    global casemate_cell, casemate_streams
    finder = {}
    exec(compile(given["modules"]["casemate_sources"], "<casemate_sources>", "exec"), finder)
    finder["install"](given["modules"])
    import casemate_cell
    import casemate_streams

    for name in casemate_cell.prepare(given["preload"]):
        say_why("cannot import " + name, ImportError(name))
    use_large_pages()
    template()


start()
