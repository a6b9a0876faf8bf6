"""Whether something works here, in words that a stranger's plugin may use."""

from __future__ import annotations

from joulebench.api import require_modules


def test_missing_modules_are_cured_by_an_extra_that_the_distribution_has() -> None:
    assert require_modules(["no_such_module"], "fpga").cure == "pip install 'joulebench[fpga]'"


def test_an_extra_that_the_distribution_lacks_is_never_named() -> None:
    availability = require_modules(["no_such_module", "another_missing"], "no-such-extra")
    assert availability.cure == "install no_such_module, another_missing"
    assert require_modules(["no_such_module"], "x", "no-such-distribution").cure == "install no_such_module"
