# What every attempt in Python starts with: the ways to ask the kernel, and to say what came of it.
import ctypes, errno, os, sys

NONCE = sys.argv[1]
WAY = "{way}"
GVISOR = WAY == "gvisor"
SESSION = WAY not in ("once", "gvisor")
CELL = WAY in ("warm", "context")
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# System calls by name: number on x86-64, number on AArch64; -1 where there is none.
NUMBERS = """
acct 163 89 add_key 248 217 adjtimex 159 171 bpf 321 280 capset 126 91 chroot 161 51 clock_settime 227 112
clone 56 220 clone3 435 435 delete_module 176 106 fanotify_init 300 262 finit_module 313 273 fsmount 432 432
fsopen 430 430 fspick 433 433 init_module 175 105 io_uring_enter 426 426 io_uring_register 427 427
io_uring_setup 425 425 ioctl 16 29 ioperm 173 -1 iopl 172 -1 kcmp 312 272 kexec_file_load 320 294
kexec_load 246 104 keyctl 250 219 listmount 458 458 lookup_dcookie 212 18 memfd_secret 447 447
migrate_pages 256 238 modify_ldt 154 -1 mount 165 40 mount_setattr 442 442 move_mount 429 429
move_pages 279 239 name_to_handle_at 303 264 open_by_handle_at 304 265 open_tree 428 428
perf_event_open 298 241 personality 135 92 pidfd_getfd 438 438 pidfd_open 434 434 pidfd_send_signal 424 424
pivot_root 155 41 process_madvise 440 440 process_vm_readv 310 270 process_vm_writev 311 271 ptrace 101 117
quotactl 179 60 reboot 169 142 request_key 249 218 seccomp 317 277 setdomainname 171 162 sethostname 170 161
setns 308 268 settimeofday 164 170 socket 41 198 statmount 457 457 swapoff 168 225 swapon 167 224
syslog 103 116 tgkill 234 131 umount2 166 39 unshare 272 97 userfaultfd 323 282 vhangup 153 58
""".split()
COLUMN = 1 if os.uname().machine == "x86_64" else 2
NUMBERS = {NUMBERS[i]: int(NUMBERS[i + COLUMN]) for i in range(0, len(NUMBERS), 3)}


def escaped(what):
    print("ESCAPED:", what, flush=True)


def only_inside():
    """Goes no further among the host's processes: what follows would do them harm."""
    if all(os.path.exists(f"/proc/{pid}/stat") for pid in ({canary_pid}, {keeper_pid})):
        escaped("the host's processes are here")
        sys.exit()


def call(which, *arguments):
    """The kernel's answer to a system call, by name or number: its result, and the name of its error."""
    number = NUMBERS[which] if isinstance(which, str) else which
    if number == -1:
        return -1, "ENOSYS"
    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *arguments)
    return result, errno.errorcode.get(ctypes.get_errno(), "none")


def refused(which, *arguments, by=("EPERM", "ENOSYS")):
    """A system call that must fail, and with one of these errors: any other says that it was tried.

    Under gVisor it is tried by a kernel that is itself held: that it fails is what counts there."""
    result, error = call(which, *arguments)
    if result != -1 or error not in by and not GVISOR:
        escaped(f"{which}{arguments} gave {result} {error}")


def fails(what, act, *arguments, by=None, **more):
    """Something that must raise an OSError, and one of these if any are named; under gVisor, which has its own, any."""
    try:
        result = act(*arguments, **more)
    except OSError as error:
        name = errno.errorcode.get(error.errno, str(error))
        if by and name not in by and not GVISOR:
            escaped(f"{what}: {name}")
        return name
    escaped(f"{what}: {result!r}")


def socket_of_a_cell():
    """The number of the socket between a cell and the first process of its place."""
    numbers = [n for n in map(int, os.listdir("/proc/self/fd")) if n > 2]
    return [n for n in numbers if os.path.exists(f"/proc/self/fd/{n}") and "socket:" in os.readlink(f"/proc/self/fd/{n}")][0]


def frame(kind, payload=b"", length=None):
    """A message as an interpreter sends it to the first process of its place."""
    length = len(payload) if length is None else length
    return length.to_bytes(4, "little") + bytes([kind]) + payload


def read(path, size=4096):
    with open(path, "rb") as file:
        return file.read(size)
