"""Asks the meter, in the sampler's process: one question, one line back."""

import os
import select
import socket
import tty


class Meter:
    """An open line to the meter."""

    def __init__(self, device):
        """Open it; a serial line without echo and line editing."""
        if device.startswith("/"):
            self.fd = os.open(device, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(self.fd)
        else:
            self.socket = socket.create_connection(device.rsplit(":", 1), 1.0)
            self.fd = self.socket.fileno()

    def read(self):
        """Microwatts now, or none where the meter does not answer within 50 ms."""
        os.write(self.fd, b"P?\n")
        answer = b""
        while not answer.endswith(b"\n"):
            if not select.select([self.fd], [], [], 0.05)[0]:
                return [None]
            answer += os.read(self.fd, 64)
        return [round(float(answer.split()[0]) * 1e6)]
