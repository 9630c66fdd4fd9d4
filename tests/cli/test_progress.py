from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress as Bars

from sekisho.cli.progress import PlainLines, RichBars, shown
from sekisho.core.progress import Progress, Quiet


def test_plain_lines_are_sparse():
    lines: list[str] = []
    progress = PlainLines(lines.append, clock=lambda: 0.0)
    for done in range(1001):
        progress.step("train", done, 1000, f"loss {done}")
    assert 10 <= len(lines) <= 12
    assert lines[0] == "train:   0 % loss 0"
    assert lines[-1] == "train: 100 % loss 1000"


def test_a_slow_step_still_speaks():
    lines: list[str] = []
    now = iter([0.0, 10.0, 20.0, 21.0])
    progress = PlainLines(lines.append, clock=lambda: next(now))
    for done in range(4):
        progress.step("train", done, 10_000)
    assert lines == ["train:   0 %", "train:   0 %"]


def test_steps_of_unknown_length_and_new_names():
    lines: list[str] = []
    progress = PlainLines(lines.append, clock=lambda: 0.0)
    progress.step("gather", 0, 0, "cleaned")
    progress.step("gather", 5, 0)
    progress.step("prove", 0, 3)
    assert lines == ["gather: cleaned", "prove:   0 %"]


def test_bars_follow_their_step():
    bars = Bars(console=Console(file=io.StringIO()))
    progress: Progress = RichBars(bars)
    progress.step("bake", 1, 3, "fold")
    progress.step("prove", 0, 0)
    progress.step("bake", 3, 3)
    assert [(t.description, t.completed, t.total) for t in bars.tasks] == [("bake", 3, 3), ("prove", 0, None)]


def test_without_a_terminal_lines_go_to_stderr(capsys):
    with shown() as progress:
        progress.step("bake", 3, 3)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "bake: 100 %\n")
    with shown(quiet=True) as progress:
        assert isinstance(progress, Quiet)
        progress.step("bake", 3, 3)
    assert capsys.readouterr().err == ""
