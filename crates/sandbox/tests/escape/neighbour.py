# Another call, that minds its own business: it must not be seen, disturbed or ended. Its secret is in all places that a
# call has for itself.
import ctypes, os, socket, subprocess, sys

nonce, secret = sys.argv[1], os.environ["NEIGHBOUR_SECRET"].encode()
libc = ctypes.CDLL(None)
open("/dev/shm/neighbour", "wb").write(secret)
if not {shares_a_session}:
    open("/tmp/neighbour", "wb").write(secret)
    open("/workspace/neighbour", "wb").write(secret)

# A segment of System V memory, by a key that is known.
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(int(nonce[:7], 16), ctypes.c_size_t(4096), 0o1666)
ctypes.memmove(libc.shmat(segment, None, 0), secret, len(secret))

# Whoever connects to one of these hears it.
listeners = []
for name in "\0neighbour-" + nonce, "/dev/shm/neighbour-socket":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    listener.listen()
    listener.setblocking(False)
    listeners.append(listener)
if not {shares_a_session}:
    listener = socket.create_server(("127.0.0.1", int(nonce[:4], 16) % 20000 + 10000))
    listener.setblocking(False)
    listeners.append(listener)

priority = os.getpriority(os.PRIO_PROCESS, 0)
child = subprocess.Popen(["/bin/sh", "-c", "read -r line", nonce], stdin=subprocess.PIPE)
print("READY", flush=True)
sys.stdin.read()
visitors = 0
for listener in listeners:
    try:
        listener.accept()
        visitors += 1
    except BlockingIOError:
        pass
kept = open("/dev/shm/neighbour", "rb").read()
# Somebody who may not signal it may not slow it down either.
calm = os.getpriority(os.PRIO_PROCESS, 0) == priority == os.getpriority(os.PRIO_PROCESS, child.pid)
if child.poll() is None and kept == secret and not visitors and calm:
    print("UNHARMED", flush=True)
child.kill()
child.wait()
