"""A child that tries what it is told, one JSON line each, and says what came of it."""
import ctypes
import errno
import json
import os
import resource
import socket
import subprocess
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
kept = []


def called(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def read(path):
    with open(path, "rb") as file:
        file.read(1)


def write(path):
    with open(path, "w") as file:
        file.write("x")


def write_bytes(path, size):
    with open(path, "wb") as file:
        file.write(b"x" * size)


def connect(port):
    socket.create_connection(("127.0.0.1", port), 5).close()


def bind(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    listener.close()


def open_socket(family, kind, protocol):
    socket.socket(family, kind, protocol).close()


def abstract(name):
    socket.socket(socket.AF_UNIX).connect("\0" + name)


def ptrace(pid):
    called(libc.ptrace(16, pid, None, None))


def read_memory(pid):
    called(libc.process_vm_readv(pid, None, 0, None, 0, 0))


def system_call(number, *arguments):
    called(libc.syscall(number, *arguments))


def fork(times):
    forked = 0
    for _ in range(times):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        forked += 1
    return forked


def open_files(count):
    opened = 0
    try:
        for _ in range(count):
            kept.append(open("/dev/null"))
            opened += 1
    except OSError:
        pass
    return opened


def allocate(size):
    kept.append(bytearray(size))


def breed(times, size):
    """Children that use memory for a minute."""
    for _ in range(times):
        if os.fork() == 0:
            kept.append(b"x" * size)
            time.sleep(60)
            os._exit(0)


def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def grandchild():
    return subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL).pid


def stray():
    """A grandchild that leaves the process group, if it can."""
    return subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, start_new_session=True).pid


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def status():
    with open("/proc/self/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def limit(name):
    return resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1]


for line in sys.stdin:
    name, *arguments = json.loads(line)
    attempt = {
        "chdir": os.chdir,
        "environment": lambda: dict(os.environ),
        "list": os.listdir,
        "pid": os.getpid,
        "setsid": os.setsid,
        "signal": lambda pid: os.kill(pid, 0),
    }.get(name) or globals()[name]
    try:
        answer = {"done": attempt(*arguments)}
    except OSError as error:
        answer = {"refused": errno.errorcode.get(error.errno, str(error))}
    except MemoryError:
        answer = {"refused": "ENOMEM"}
    print(json.dumps(answer), flush=True)
