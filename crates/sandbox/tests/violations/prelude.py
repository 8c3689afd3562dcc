import ctypes, os, sys, time

_libc = ctypes.CDLL(None, use_errno=True)
_NUMBERS = {numbers}


def syscall(name, *arguments):
    kinds = {int: ctypes.c_long, str: lambda text: ctypes.c_char_p(text.encode()), bytes: ctypes.c_char_p}
    result = _libc.syscall(ctypes.c_long(_NUMBERS[name]), *(kinds[type(value)](value) for value in arguments))
    if result != -1:
        print("succeeded:", name, flush=True)


def settle():
    # Whoever was seen is dead before this is over.
    time.sleep(5)


