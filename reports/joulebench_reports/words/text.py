"""Numbers, bytes, times and foreign text as a report shows them."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection
from typing import Final

#: Shown where a figure is unknown; never 0.
UNKNOWN = "–"

#: How a provenance is marked next to a figure. Measured is the unmarked case.
MARKS = {"measured": "", "estimated": "est.", "simulated": "sim.", "extrapolated": "extrap."}


_QUOTED: Final = re.compile(r"'[^']*'")


def pattern_of(text: str) -> str:
    """A reason without the names that it quotes, by which reasons of the same kind are found."""
    return _QUOTED.sub("'…'", text)


def shared_text(texts: Collection[str]) -> str:
    """Texts of one pattern as one: names that are not the same in all of them are ``'…'``."""
    names = zip(*(_QUOTED.findall(text) for text in texts), strict=True)
    kept = iter([own[0] if len(set(own)) == 1 else "'…'" for own in names])
    return _QUOTED.sub(lambda _: next(kept), next(iter(texts)))


def plain(text: object) -> str:
    """Foreign text as one inert line: no control, escape or direction-changing characters."""
    return " ".join(visible(text).split())


def visible(text: object) -> str:
    """Foreign text with its line breaks, without characters that steer a terminal or reader.

    Category C of Unicode holds controls, format characters (bidirectional overrides) and
    surrogates.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(char if char in "\n\t" or unicodedata.category(char)[0] != "C" else "\ufffd" for char in shown)


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, without exponent between 1e-4 and 1e7."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if -4 <= magnitude < 7:
        decimals = max(0, digits - 1 - magnitude)
        return f"{value:,.{decimals}f}"
    return f"{value:.{digits - 1}e}"


def decimals_for(half_width: float) -> int:
    """Decimals that show an uncertainty with two significant digits."""
    if half_width <= 0 or not math.isfinite(half_width):
        return 3
    return min(9, max(0, 1 - math.floor(math.log10(half_width))))


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """``1.234 ± 0.012``; asymmetric intervals as ``1.23 [1.10, 1.50]``."""
    if value is None:
        return UNKNOWN
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return number(value)
    half = (high - low) / 2
    if half <= 0:
        return number(value)
    if half < 1e-9 or half > 1e7:
        return f"{number(value)} ± {number(half, 2)}"
    # An interval wider than the value must not eat the value's own digits.
    places = decimals_for(min(half, abs(value)) or half)
    if abs((high + low) / 2 - value) <= 0.1 * half:
        return f"{value:,.{places}f} ± {half:,.{places}f}"
    return f"{value:,.{places}f} [{low:,.{places}f}, {high:,.{places}f}]"


def with_range(value: float | None, low: float | None, high: float | None) -> str:
    """``1.23 [1.10, 1.50]``: what lies between the bounds is allowed, none of it more likely."""
    if value is None:
        return UNKNOWN
    if low is None or high is None:
        return number(value)
    return f"{number(value)} [{number(low, 2)}, {number(high, 2)}]"


def percent(share: float | None, digits: int = 2) -> str:
    """A ratio as per cent."""
    return UNKNOWN if share is None else f"{number(share * 100, digits)} %"


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if abs(value) < limit:
            return f"{number(value * factor)} {unit}"
    return f"{number(value)} s" if value < 600 else f"{number(value / 60)} min"


def counted(n: int, noun: str) -> str:
    """``1 block``, ``2 blocks``, ``3 processes``."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{n:,} {noun}" + ("" if n == 1 else plural)


def data_size(value: float | None) -> str:
    """Bytes in powers of 1024."""
    if value is None:
        return UNKNOWN
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(value) >= factor:
            return f"{number(value / factor)} {unit}"
    return f"{value:.0f} B"
