"""A checkpoint on paper: the code on the sheet is read by another library, and what it says is checked by the stand-alone tool."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarking import load_script
from ledger.makers import judgement
from sekisho.core.errors import ToolError
from sekisho.ledger import checkpoint
from sekisho.ledger.signing import Signer
from sekisho.ledger.store import Ledger
from sekisho.loop import sheet

from .conftest import judged

SCRIPT = Path(__file__).parents[2] / "tools" / "verify_ledger.py"


@pytest.fixture(scope="module")
def tool():
    return load_script("tools/verify_ledger.py")


def timed(minute):
    """A judgement without content, of a time of its own."""
    return judgement().model_copy(update={"at": f"2026-11-21T05:{minute:02}:00.000000Z"})


@pytest.fixture
def noted(house, tmp_path):
    """A ledger, its checkpoint, and the note in a file."""
    for decision in ("ALLOW", "DENY", "ESCALATE"):
        judged(house, f"text {decision}", decision)
    made = checkpoint.take(house.ledger, Signer.open(tmp_path / "key.pem"), None)
    path = tmp_path / "note.txt"
    path.write_text(made.note, encoding="utf-8")
    return house, made, path


def test_the_code_on_the_sheet_says_the_note(noted, tmp_path):
    cv2, numpy = pytest.importorskip("cv2"), pytest.importorskip("numpy")
    from reportlab.graphics.barcode.qr import QrCodeWidget

    _, made, _ = noted
    widget = QrCodeWidget(made.note, barLevel="M")
    widget.qr.make()
    modules = numpy.array(widget.qr.modules, dtype=bool)
    dark = numpy.pad(modules, 4)
    found = set()
    for dots in range(
        4, 13
    ):  # OpenCV's reader misses a clean code now and then, at one size and not at the next
        picture = numpy.where(numpy.kron(dark, numpy.ones((dots, dots), dtype=bool)), 0, 255)
        for reader in (cv2.QRCodeDetector(), cv2.QRCodeDetectorAruco()):
            found.add(reader.detectAndDecode(picture.astype(numpy.uint8))[0])
    assert found - {""} == {made.note}


def test_the_sheet_is_a_pdf(noted, tmp_path):
    _, made, _ = noted
    try:
        path = sheet.write(made, tmp_path / "sheet.pdf")
    except ToolError as e:
        pytest.skip(str(e))
    assert path.read_bytes()[:5] == b"%PDF-"


def test_a_note_shows_what_a_witness_shows(noted, tool, tmp_path):
    house, made, path = noted
    judged(house, "later", "ALLOW")
    keys = (made.key,)
    whole = tool.verify(house.ledger.path, keys=keys, note=path)
    assert (whole.problems, whole.witnessed_to) == ([], made.size + 1)
    run = [sys.executable, str(SCRIPT), str(house.ledger.path), "--note", str(path), "--key", made.key]
    assert subprocess.run(run, capture_output=True, check=False).returncode == 0

    with Ledger.open(tmp_path / "other.sqlite") as other:
        other.append([timed(0)])
        cut = tool.verify(other.path, keys=keys, note=path)
        assert (cut.first_bad, "missing" in cut.problems[0][1]) == (2, True)
        other.append([timed(i) for i in range(1, 6)])
        rewritten = tool.verify(other.path, keys=keys, note=path)
        assert rewritten.problems == [(None, f"the note speaks of other entries up to {made.size}")]


@pytest.mark.parametrize("spoil", [lambda n: n.replace("\n3\n", "\n4\n"), lambda n: n[:-5], lambda n: "x"])
def test_a_note_that_was_changed_is_refused(noted, tool, spoil):
    house, made, path = noted
    text = spoil(made.note)
    assert text != made.note
    path.write_text(text, encoding="utf-8")
    with pytest.raises(tool.UnreadableError):
        tool.verify(house.ledger.path, keys=(made.key,), note=path)


def test_a_note_needs_the_key(noted, tool):
    house, _, path = noted
    with pytest.raises(tool.UnreadableError, match="--key"):
        tool.verify(house.ledger.path, note=path)
