"""The server's process: started and ended with all that it has started, or found by its port."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joulebench.backendkit import Mark, die_with_parent, signal_name
from joulebench.errors import PluginError

_END_S: Final = 10.0
_LISTENING: Final = "0A"  # include/net/tcp_states.h
_TAIL_BYTES: Final = 4000


class ServerProcess:
    """A running server. It is in this process's group: who stops or kills one does both."""

    def __init__(self, command: str, filled: Mapping[str, str], secret: str | None) -> None:
        self._mark = Mark()
        self._secret = secret
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        words = shlex.split(command)
        for name, value in {"python": sys.executable, **filled}.items():
            words = [word.replace("{" + name + "}", value) for word in words]
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env={**os.environ, **self._mark.environment()},
                preexec_fn=die_with_parent,  # noqa: PLW1509  one system call, nothing is imported
            )
        except (OSError, ValueError) as error:
            self._log.close()
            raise PluginError(
                f"the server cannot be started: {getattr(error, 'strerror', None) or error}",
                where=words[0],
                hint="install it, or correct 'command'",
            ) from None
        self.program = words[0]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fault(self) -> PluginError | None:
        """How it ended; ``None`` while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        how = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        lines = self.log().strip().splitlines()
        return PluginError(f"the server {how}" + (f": {lines[-1][:300]}" if lines else ""), where=self.program)

    def await_end(self) -> None:
        """Wait for the end of a server that listens no more: its sockets are closed before it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)

    def log(self) -> str:
        """The end of what it wrote, without the key."""
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace")
        return text.replace(self._secret, "***") if self._secret else text

    def close(self) -> None:
        """End it and all that it has started. The end of its log goes to standard error, which the session keeps."""
        if self._log.closed:
            return
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._mark.end_all()
        sys.stderr.write(self.log())
        self._log.close()


def free_port() -> int:
    """A port of the loopback that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_here(host: str) -> bool:
    """Whether a host's address is one of this machine's."""
    try:
        address = socket.getaddrinfo(host, None)[0][4][0]
    except OSError:
        return False
    if ipaddress.ip_address(str(address).partition("%")[0]).is_loopback:
        return True
    family = socket.AF_INET6 if ":" in str(address) else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((str(address), 0))  # only an address of this machine can be bound
        return True
    return False


def listener(port: int) -> int | None:
    """The process that listens at a port of this machine, as far as /proc may be read (proc(5), net/tcp)."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    pids = []
    for folder in Path("/proc").glob("[0-9]*/fd") if sockets else ():
        with contextlib.suppress(OSError):
            if any(str(link.readlink()) in sockets for link in folder.iterdir()):
                pids.append(int(folder.parent.name))
    return min(pids, default=None)
