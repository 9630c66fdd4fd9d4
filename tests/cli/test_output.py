from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.cli import output
from sekisho.core.errors import InputError, SettingsError


@given(st.text())
def test_no_recorded_text_can_drive_a_terminal(text):
    shown = output.plain(text)
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    if text.isprintable():
        assert shown == text


def test_escape_sequences_are_spelt_out():
    assert output.plain("a\x1b[2Jb\x07") == "a\\x1b[2Jb\\x07"


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), st.integers() | st.none()))
def test_one_document_reads_back(value):
    import contextlib
    import io

    buffer = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with contextlib.redirect_stdout(buffer):
        output.write_json(value)
    assert json.loads(buffer.buffer.getvalue().decode("utf-8")) == value


def test_tables_and_pairs_keep_long_values_whole(capsys):
    digest = "sha256:" + "0123456789abcdef" * 4
    output.write_table(("id", "what"), [(digest, "[bold]関所[/bold]")])
    output.write_pairs({"digest": digest, "n": 1})
    out = capsys.readouterr().out
    assert out.count(digest) == 2
    assert "[bold]関所[/bold]" in out


def test_error_objects_carry_what_they_know():
    assert output.error_object(InputError("No.", "Yes.", ("body", 1)))["error"] == {
        "code": "invalid_input",
        "what": "No.",
        "do": "Yes.",
        "loc": ["body", 1],
    }
    assert output.error_object(SettingsError(["a", "b"]))["error"]["problems"] == ["a", "b"]


def test_nan_is_refused():
    with pytest.raises(ValueError):
        output.write_json({"x": float("nan")})
