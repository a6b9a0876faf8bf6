"""A small asynchronous HTTP client: a connection a request, answers as they come.

Of the standard library: what it costs in CPU time is measured with each window, and parsing is little of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from joulebench.errors import PluginError

_LIMIT_BYTES: Final = 1 << 22
_SHOWN: Final = 200


class EndpointError(PluginError):
    """The endpoint refused, broke off, or answered what makes no sense."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go, and the secret key, which no representation and no message shows."""

    url: str
    key: str | None = field(default=None, repr=False)

    @property
    def parts(self) -> SplitResult:
        """The address, taken apart."""
        return urlsplit(self.url)

    @property
    def port(self) -> int:
        """Its port."""
        return self.parts.port or (443 if self.parts.scheme == "https" else 80)

    def hidden(self, text: str) -> str:
        """The text without the key."""
        return text.replace(self.key, "***") if self.key else text

    def error(self, what: str, hint: str | None = None) -> EndpointError:
        """An error that says where."""
        return EndpointError(self.hidden(what), where=self.url, hint=hint)

    async def lines(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> AsyncIterator[bytes]:
        """The answer's lines. Raises :class:`EndpointError`, also for a status other than 200."""
        try:
            secure = ssl.create_default_context() if self.parts.scheme == "https" else None
            reader, writer = await asyncio.open_connection(
                self.parts.hostname, self.port, ssl=secure, limit=_LIMIT_BYTES
            )
        except OSError as error:
            raise self.error(f"cannot be reached: {error.strerror or type(error).__name__}") from None
        try:
            writer.write(self._request(method, path, body))
            await writer.drain()
            status, headers = await self._head(reader)
            pieces = _chunks(reader) if "chunked" in headers.get("transfer-encoding", "") else _rest(reader, headers)
            if status != 200:
                raise self._refused(status, b"".join([piece async for piece in pieces]))
            rest = b""
            async for piece in pieces:
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield line
            if rest:
                yield rest
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise self.error(f"broke off its answer ({type(error).__name__})") from None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        payload = b"" if body is None else json.dumps(body).encode()
        host = self.parts.netloc
        lines = [f"{method} {self.parts.path.rstrip('/')}{path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += ["Accept: */*", "Content-Type: application/json", f"Content-Length: {len(payload)}"]
        if self.key:
            lines.append(f"Authorization: Bearer {self.key}")
        return "\r\n".join([*lines, "", ""]).encode() + payload

    async def _head(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        words = first.split(maxsplit=2)
        if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
            raise self.error(f"does not speak HTTP: {first[:80]!r}")
        pairs = (line.partition(":") for line in rest if ":" in line)
        return int(words[1]), {name.strip().lower(): value.strip().lower() for name, _, value in pairs}

    def _refused(self, status: int, body: bytes) -> EndpointError:
        said = self.hidden(" ".join(body.decode(errors="replace").split()))[:_SHOWN]
        hint = None
        if status in (401, 403):
            hint = "set key_env to the name of an environment variable that holds a valid key"
        elif status == 404:
            hint = "check url, endpoint and served_name"
        return self.error(f"answered HTTP {status}" + (f": {said}" if said else ""), hint)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The body of chunked transfer (RFC 9112, 7.1)."""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()


async def _rest(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """The body up to its stated length, else to the end of the connection."""
    left = int(headers["content-length"]) if "content-length" in headers else None
    while left is None or left > 0:
        piece = await reader.read(1 << 16 if left is None else min(left, 1 << 16))
        if not piece:
            if left is not None:
                raise EOFError
            return
        left = None if left is None else left - len(piece)
        yield piece
