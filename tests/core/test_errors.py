from __future__ import annotations

import re
from collections import Counter

from sekisho.core.errors import InputError, OverloadedError, SekishoError, SettingsError, all_errors


def test_codes_are_stable_names_and_used_once():
    found = list(all_errors())
    assert len(found) >= 20
    assert found[0] is SekishoError
    assert all(re.fullmatch(r"[a-z_]+", e.code) for e in found)
    assert max(Counter(e.code for e in found).values()) == 1


def test_every_error_says_what_it_means_and_how_it_ends():
    for error in all_errors():
        assert error.__doc__
        assert 400 <= error.http_status < 600
        assert 1 <= error.exit_code < 128


def test_what_happened_comes_before_what_to_do():
    assert str(SekishoError("It broke.", "Mend it.")) == "It broke. Mend it."
    assert str(SekishoError("It broke.")) == "It broke."
    assert InputError("No.", "Yes.", ("body", "x")).loc == ("body", "x")
    assert OverloadedError("Full.", retry_after=3).retry_after == 3


def test_settings_errors_keep_every_problem():
    error = SettingsError(["a: wrong", "b: wrong"])
    assert error.problems == ["a: wrong", "b: wrong"]
    assert "  - a: wrong\n  - b: wrong" in error.what
