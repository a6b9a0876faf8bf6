"""Fields that a profile adds to each request."""

from __future__ import annotations

import json
from typing import Any

from joulebench.api import Settings
from joulebench.errors import ProfileError


def further_fields(settings: Settings) -> dict[str, Any]:
    """The option ``body`` as an object. Raises :class:`ProfileError` where it is none."""
    try:
        fields = json.loads(str(settings.get("body", "{}")))
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ProfileError("body is no JSON object", where="backend.body", hint="such as '{\"ignore_eos\": true}'")
    return fields
