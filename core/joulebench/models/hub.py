"""The Hugging Face hub, asked for the commit that a name stands for at this moment."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any, Final

from joulebench.errors import ModelError, UnavailableError
from joulebench.models.hubcache import NAME, hub_token

_ENDPOINT: Final = "https://huggingface.co"
_TIMEOUT_S: Final = 20.0
#: More than any answer about one revision.
_MOST_BYTES: Final = 32 * 2**20
_BRANCH: Final = re.compile(r"\w[\w./-]*")
#: How the hub's clients write yes.
_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Pin:
    """A model of the hub at one commit, as a profile names it, and what stands in its way here."""

    source: str
    notes: tuple[str, ...] = ()


def pinned(name: str) -> Pin:
    """The commit of ``ORG/NAME`` or ``ORG/NAME@BRANCH`` now. Asks the hub; fetches no model.

    Raises :class:`ModelError` for a name that the hub does not know and
    :class:`UnavailableError` where the hub cannot be reached.
    """
    model, _, branch = name.removeprefix("hf:").partition("@")
    branch = branch or "main"
    if not NAME.fullmatch(model) or not _BRANCH.fullmatch(branch):
        raise ModelError("must be ORG/NAME or ORG/NAME@BRANCH", where=name)
    answer = _asked(model, branch)
    commit = answer.get("sha")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise ModelError("the hub's answer names no commit", where=name)
    return Pin(f"hf:{model}@{commit}", tuple(_notes(answer)))


def _notes(answer: dict[str, Any]) -> list[str]:
    notes: list[str] = []
    files = [entry.get("rfilename") for entry in answer.get("siblings") or () if isinstance(entry, dict)]
    if files and not any(isinstance(file, str) and file.endswith(".safetensors") for file in files):
        single = sorted(file for file in files if isinstance(file, str) and file.endswith(".gguf"))
        use = f"a GGUF file runs as SOURCE:{single[0]}" if single else "joulebench cannot read its weights"
        notes.append(f"has no .safetensors file: {use}")
    if answer.get("gated"):
        notes.append("is gated: accept its terms on the hub, and 'hf auth login' or set HF_TOKEN, before it is fetched")
    return notes


def _asked(model: str, branch: str) -> dict[str, Any]:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        raise UnavailableError("the hub is not asked: HF_HUB_OFFLINE is set", hint="unset it, or use path:DIR")
    import http.client
    import urllib.error
    import urllib.parse
    import urllib.request

    endpoint = (os.environ.get("HF_ENDPOINT") or _ENDPOINT).rstrip("/")
    address = f"{endpoint}/api/models/{model}/revision/{urllib.parse.quote(branch, safe='')}"
    if not address.startswith(("https://", "http://")):
        raise UnavailableError("is not the address of a hub", where=f"HF_ENDPOINT={endpoint}")
    request = urllib.request.Request(address, headers={"User-Agent": "joulebench"})  # noqa: S310  checked above
    if token := hub_token():
        # Not to where a redirect may lead.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310  checked above
            data = json.loads(answer.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        raise _refused(error.code, model, branch, endpoint) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UnavailableError(
            f"the hub cannot be reached: {reason}", where=endpoint, hint="check the connection, or use path:DIR"
        ) from None
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise UnavailableError("the hub's answer is not a JSON object", where=endpoint)
    return data


def _refused(code: int, model: str, branch: str, endpoint: str) -> ModelError | UnavailableError:
    if code in (401, 403):  # the hub says so of names that do not exist, too
        return ModelError(
            f"the hub knows no public model '{model}'",
            where=endpoint,
            hint="check the name; for a private or gated model 'hf auth login' or set HF_TOKEN",
        )
    if code == 404:
        return ModelError(f"the hub knows no '{model}' at '{branch}'", where=endpoint, hint="check name and branch")
    return UnavailableError(f"the hub answered with HTTP status {code}", where=endpoint, hint="try again later")
