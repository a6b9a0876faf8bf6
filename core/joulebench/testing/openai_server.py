"""A scripted OpenAI-compatible server: ``python -m joulebench.testing.openai_server PORT BEHAVIOUR``.

It answers each request with as many words as it is asked for, one an event, and knows these behaviours:
``good``; ``cut`` ends every second stream with HTTP 200 and no finish_reason; ``cuts`` does so with every stream
after the first; ``garbage`` speaks HTTP and no JSON; ``dies`` ends in the middle of the second stream; ``silent``
listens and never answers; ``key`` wants the key ``right-key``; ``one`` answers one request after the other,
``WORD_S`` seconds a word, where the environment sets that.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

KEY: Final = "right-key"
MODEL: Final = "scripted"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    behaviour = "good"
    streams = 0
    turn = threading.Lock()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests read what the server says itself."""

    def _refused(self) -> bool:
        if self.behaviour == "silent":
            threading.Event().wait()
        if self.behaviour == "garbage":
            self._say(b"<html>a router's page</html>")
            return True
        sent = self.headers.get("Authorization", "")
        if self.behaviour == "key" and sent != f"Bearer {KEY}":
            print(f"refused {sent}", file=sys.stderr, flush=True)
            self._say(json.dumps({"error": {"message": f"wrong key: {sent}"}}).encode(), 401)
            return True
        return False

    def do_GET(self) -> None:
        """``/v1/models``."""
        if not self._refused():
            self._say(json.dumps({"object": "list", "data": [{"id": MODEL}]}).encode())

    def do_POST(self) -> None:
        """``/v1/completions`` and ``/v1/chat/completions``."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._refused():
            return
        if asked["model"] != MODEL:
            self._say(json.dumps({"error": {"message": f"no model {asked['model']}"}}).encode(), 404)
            return
        if self.behaviour == "one":
            with self.turn:
                self._stream(asked)
        else:
            self._stream(asked)

    def _stream(self, asked: dict[str, object]) -> None:
        type(self).streams += 1
        number, count = type(self).streams, int(str(asked["max_tokens"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        cut = (self.behaviour == "cut" and number % 2 == 0) or (self.behaviour == "cuts" and number > 1)
        for place in range(count):
            time.sleep(float(os.environ.get("WORD_S", "0")))
            choice = {"text": " word", "delta": {"content": " word"}, "finish_reason": None}
            if self.behaviour == "dies" and number > 1 and place:
                os._exit(7)
            if cut and place:
                return
            if place == count - 1 and not cut:
                choice["finish_reason"] = "length"
            self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")

    def _say(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until the process is ended."""
    _Handler.behaviour = sys.argv[2]
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()


if __name__ == "__main__":
    main()
