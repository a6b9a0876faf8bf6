"""A session at a server: what it is asked for is streamed, each arrival stamped by the client's clock."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from joulebench.api import Arrival, Artifact, BackendSession, MemoryUse, Scalar, Served, Settings
from joulebench_plugins.server.client import Endpoint, EndpointError
from joulebench_plugins.server.fields import further_fields
from joulebench_plugins.server.process import ServerProcess, free_port, is_here, listener

_POLL_S: Final = 0.2
#: Longest wait for an answer of a single token, when the session is opened.
_TRIAL_S: Final = 120.0
#: A server that is busy for longer is asked no further whether it lives.
_BUSY_S: Final = 10.0
_PATHS: Final = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
_DATA: Final = b"data:"


class ServerSession(BackendSession):
    """An endpoint that answers, and the process behind it where it is on this machine."""

    def __init__(self, artifact: Artifact, settings: Settings) -> None:
        self._process: ServerProcess | None = None
        self._path = _PATHS[str(settings["endpoint"])]
        variable = settings.get("key_env")
        key = None if variable is None else os.environ.get(str(variable))
        self._fields = further_fields(settings)
        try:
            if "command" in settings:
                port = free_port()
                filled = {"model": str(artifact.path), "port": str(port), "threads": str(settings.get("threads", ""))}
                self._endpoint = Endpoint(f"http://127.0.0.1:{port}", key)
                self._process = ServerProcess(str(settings["command"]), filled, key)
                self._pid: int | None = self._process.pid
            else:
                self._endpoint = Endpoint(str(settings["url"]).rstrip("/").removesuffix("/v1"), key)
                self._pid = None
            asyncio.run(self._get_ready(artifact, settings))
            if self._process is None and is_here(str(self._endpoint.parts.hostname)):
                self._pid = listener(self._endpoint.port)
            self.elsewhere = self._process is None and self._pid is None
        except BaseException:
            self.close()
            raise

    async def _get_ready(self, artifact: Artifact, settings: Settings) -> None:
        """Wait until it lists its models, then ask for one token: a wrong key, name or protocol shows at once."""
        deadline = time.monotonic() + float(settings["ready_s"])
        while True:
            self._still_runs()
            try:
                async with asyncio.timeout(max(_POLL_S, deadline - time.monotonic())):
                    text = b"\n".join([line async for line in self._endpoint.lines("GET", "/v1/models")])
                break
            except (EndpointError, TimeoutError) as error:
                refused = isinstance(error, EndpointError) and "HTTP 40" in error.what
                if refused and "HTTP 404" in str(error) and "served_name" in settings:
                    text = b""
                    break
                if refused or (self._process is None and isinstance(error, EndpointError)):
                    raise
                if time.monotonic() >= deadline:
                    said = f": {error.what}" if isinstance(error, EndpointError) else ""
                    raise self._endpoint.error(
                        f"was not ready in {settings['ready_s']:g} s{said}", "raise ready_s, or correct 'command'"
                    ) from None
            await asyncio.sleep(_POLL_S)
        self._name = self._name_of(text, settings.get("served_name"), artifact)
        [trial] = await self._all((Arrival(0.0, "Hello", 1, 1),), _TRIAL_S)
        if trial.fault is not None:
            self._still_runs()
            raise self._endpoint.error(f"does not answer as an OpenAI-compatible server: {trial.fault}")

    def _name_of(self, text: bytes, given: object, artifact: Artifact) -> str:
        if given is not None:
            return str(given).replace("{model}", str(artifact.path))
        try:
            names = [str(entry["id"]) for entry in json.loads(text)["data"]]
        except (ValueError, KeyError, TypeError):
            raise self._endpoint.error(
                f"is no OpenAI-compatible server: /v1/models gives {text[:80]!r}", "check url or command"
            ) from None
        if len(names) != 1:
            raise self._endpoint.error(f"offers {len(names)} models: {', '.join(names[:8])}", "name one in served_name")
        return names[0]

    def _still_runs(self) -> None:
        if self._process is not None and (fault := self._process.fault()) is not None:
            raise fault

    def serve(
        self, arrivals: Sequence[Arrival], limit_s: float, concurrency: int | None = None, until_s: float = math.inf
    ) -> list[Served]:
        """Send each request when it is due (or when a place is free) and collect the streams."""
        served = asyncio.run(self._all(arrivals, limit_s, concurrency, until_s))
        if self._process is not None and any(one.fault for one in served) and not asyncio.run(self._answers()):
            self._process.await_end()
        self._still_runs()
        return served

    async def _answers(self) -> bool:
        """Whether the server still answers anything; one that is only busy counts as if it did."""
        try:
            async with asyncio.timeout(_BUSY_S):
                return bool([line async for line in self._endpoint.lines("GET", "/v1/models")])
        except TimeoutError:
            return True
        except EndpointError as error:
            return "HTTP" in error.what

    async def _all(
        self, arrivals: Sequence[Arrival], limit_s: float, concurrency: int | None = None, until_s: float = math.inf
    ) -> list[Served]:
        start_ns = time.perf_counter_ns()
        if concurrency is None:

            async def when_due(arrival: Arrival) -> Served:
                due_ns = start_ns + round(arrival.due_s * 1e9)
                await asyncio.sleep((due_ns - time.perf_counter_ns()) * 1e-9)
                return await self._one(arrival, due_ns, limit_s)

            return list(await asyncio.gather(*map(when_due, arrivals)))
        waiting, served = iter(arrivals), list[Served]()

        async def place() -> None:
            for arrival in waiting:
                served.append(await self._one(arrival, time.perf_counter_ns(), limit_s))
                if (time.perf_counter_ns() - start_ns) * 1e-9 >= until_s:
                    break

        await asyncio.gather(*(place() for _ in range(concurrency)))
        return served

    async def _one(self, arrival: Arrival, due_ns: int, limit_s: float) -> Served:
        stream = _Stream(self._endpoint)
        sent_ns = time.perf_counter_ns()
        try:
            async with asyncio.timeout(limit_s):
                async for line in self._endpoint.lines("POST", self._path, self._body(arrival)):
                    if line.startswith(_DATA):
                        stream.take(line[len(_DATA) :].strip())
            fault = stream.fault()
        except TimeoutError:
            fault = f"no whole answer in {limit_s:g} s"
        except EndpointError as error:
            fault = error.what
        return Served(
            due_ns=due_ns,
            sent_ns=sent_ns,
            first_ns=stream.first_ns,
            end_ns=stream.last_ns or time.perf_counter_ns(),
            prompt_tokens=stream.usage.get("prompt_tokens") or arrival.prompt_tokens,
            output_tokens=stream.usage.get("completion_tokens") or stream.events,
            fault=fault,
        )

    def _body(self, arrival: Arrival) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model": self._name,
            "max_tokens": arrival.new_tokens,
            "temperature": 0,
            "stream": True,
        }
        if self._path.endswith("/chat/completions"):
            asked["messages"] = [{"role": "user", "content": arrival.prompt}]
        else:
            asked["prompt"] = arrival.prompt
        return {**asked, "stream_options": {"include_usage": True}, **self._fields}

    def reset(self) -> None:
        """Nothing to forget: a request carries all of its text."""

    def memory(self) -> MemoryUse:
        """A server tells nothing of its memory; the system does, of its process."""
        return MemoryUse()

    def process_id(self) -> int | None:
        """The server's process, where it is on this machine and may be seen."""
        return self._pid

    def facts(self) -> Mapping[str, Scalar]:
        """Which server and model answer, and whose process it is."""
        return {
            "server": self._endpoint.url if self._process is None else self._process.program,
            "served_name": self._name,
            "elsewhere": self.elsewhere,
        }

    def close(self) -> None:
        """End the server, if it was started here."""
        if self._process is not None:
            self._process.close()


class _Stream:
    """What has come of a streamed answer (server-sent events, as the OpenAI API has them)."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.events = 0
        self.usage: dict[str, int] = {}
        self._finished = False

    def take(self, data: bytes) -> None:
        """An event. Raises :class:`EndpointError` for an error and for what is no event."""
        if data == b"[DONE]":
            return
        try:
            event = json.loads(data)
            choices = event.get("choices") or ()
            usage = event.get("usage")
            if "error" in event:
                raise self._endpoint.error(f"gave an error in a stream: {str(event['error'])[:200]}")
            choice = choices[0] if choices else {}
            text = choice.get("text") or (choice.get("delta") or {}).get("content")
            self._finished |= choice.get("finish_reason") is not None
        except (ValueError, AttributeError, LookupError, TypeError):
            raise self._endpoint.error(f"sent what is no event: {data[:80]!r}") from None
        if isinstance(usage, dict):
            self.usage = {name: value for name, value in usage.items() if type(value) is int}
        if text:
            self.last_ns = time.perf_counter_ns()
            self.first_ns = self.first_ns or self.last_ns
            self.events += 1

    def fault(self) -> str | None:
        """Why the answer is none, or not whole: HTTP 200 alone does not say that it is."""
        if not self._finished:
            return "the stream was cut: it ended without a finish_reason"
        if self.first_ns is None:
            return "the answer is empty"
        return None
