"""How commands end: results on stdout, one clear message on stderr, the exit code of the error's class."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import psutil
import pytest

from sekisho import __version__
from sekisho.cli import main as room
from sekisho.core.errors import DeviceError, SekishoError, all_errors
from sekisho.core.table import TABLE
from sekisho.host.offline import sealed

from .conftest import start


def test_help_names_every_command(cli):
    shown = cli("--help").out
    for word in ("up", "serve", "gather", "pretrain", "finetune", "prove", "bake", "promote", "rollback"):
        assert f" {word} " in shown
    for word in ("report", "correct", "judge", "audit", "settings", "doctor"):
        assert f" {word} " in shown


def test_nothing_asked_shows_help_and_ends_with_2(cli):
    ended = cli()
    assert ended.code == 2
    assert "Usage: sekisho" in ended.out + ended.err
    assert "Traceback" not in ended.err


def test_version(cli):
    assert (cli("--version").code, cli("--version").out) == (0, f"sekisho {__version__}\n")


@pytest.mark.parametrize(
    ("args", "said", "path"),
    [
        (("audti",), "No such command 'audti'", "sekisho --help"),
        (("judge", "gate"), "Missing option '--text'", "sekisho judge gate --help"),
        (("judge", "gate", "--txt", "x"), "No such option: --txt", "sekisho judge gate --help"),
        (("audit", "show", "--limit", "many"), "'--limit'", "sekisho audit show --help"),
        (("pretrain",), "Missing argument", "sekisho pretrain --help"),
    ],
)
def test_a_wrong_command_line_is_one_message(cli, args, said, path):
    ended = cli(*args)
    assert ended.code == 2
    assert ended.out == ""
    first, second = ended.err.splitlines()
    assert first.startswith("sekisho: ")
    assert said in first
    assert path in second


def test_errors_are_objects_with_json(cli, promoted):
    ended = cli("audit", "show", "--kind", "dream", "--json")
    assert (ended.code, ended.out) == (2, "")
    error = json.loads(ended.err)["error"]
    assert error["code"] == "invalid_input"
    assert "dream" in error["what"]
    assert "judgement" in error["do"]
    assert json.loads(cli("nonsense", "--json").err)["error"]["code"] == "invalid_input"


def test_all_wrong_settings_are_told_at_once(cli):
    error = json.loads(cli("serve", "--json", "--port", "x", "--slots", "0").err)["error"]
    assert error["code"] == "settings"
    assert len(error["problems"]) == 2


@pytest.mark.parametrize("error", [e for e in all_errors() if e.code != "settings"], ids=lambda e: e.code)
def test_every_error_ends_with_its_own_code(cli, monkeypatch, error):
    def fail(*args: object) -> None:
        raise error("It broke.", "Mend it.")

    monkeypatch.setattr("sekisho.wiring.build", fail)
    ended = cli("audit", "verify")
    assert (ended.code, ended.out) == (error.exit_code, "")
    assert ended.err == "sekisho: It broke.\n  Mend it.\n"


def test_an_absent_device_ends_with_ex_config():
    assert DeviceError.exit_code == 78


def test_a_disk_error_is_no_traceback(cli, tmp_path):
    (tmp_path / "file").write_text("x")
    ended = cli("gather", "--home", str(tmp_path / "file" / "home"))
    assert ended.code == 1
    assert ended.err.startswith("sekisho: ")
    assert "Traceback" not in ended.err


def test_a_missing_training_package_names_the_cure():
    """With torch not importable, as in an environment without the `train` extra."""
    code = "import sys; sys.modules['torch'] = None; from sekisho.cli.main import run; sys.exit(run(['finetune']))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "The package torch is not installed" in ended.stderr
    assert "pip install 'sekisho[train]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def _raiser(error: Exception):
    def fail(*args: object) -> None:
        raise error

    return fail


def test_a_bug_is_not_hidden(cli, monkeypatch):
    monkeypatch.setattr("sekisho.wiring.build", _raiser(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli("audit", "verify")


def test_options_before_and_after_the_command_are_the_same(cli, tmp_path):
    before = cli("--home", str(tmp_path), "--json", "settings").document
    after = cli("settings", "--home", str(tmp_path), "--json").document
    assert before == after
    assert next(r for r in before if r["name"] == "home")["value"] == str(tmp_path)
    later = cli("--port", "1", "settings", "--port", "2", "--json").document
    assert next(r for r in later if r["name"] == "port")["value"] == 2


@pytest.mark.parametrize("args", [("audit", "--home", "{}", "--json", "verify"), ("audit", "verify", "--home", "{}", "--json"),
                                  ("audit", "--home", "/nowhere", "verify", "--home", "{}", "--json")])  # fmt: skip
def test_shared_options_may_stand_after_any_word(cli, tmp_path, args):
    cli("judge", "gate", "--text", "Hello.", "--home", str(tmp_path), "--engine", "fake")
    assert cli(*(a.format(tmp_path) for a in args)).document["ok"]


def leaves(found, path: tuple[str, ...] = ()):
    children = getattr(found, "commands", None)
    if not children:
        taken = found.get_params(found.context_class(found))
        yield path, {option for param in taken for option in param.opts}
    for name, child in (children or {}).items():
        yield from leaves(child, (*path, name))


def test_every_command_takes_json_config_and_every_setting():
    import typer

    found = dict(leaves(typer.main.get_command(room.app)))
    assert len(found) >= 16
    flags = {"--json", "--config", *("--" + s.name.replace("_", "-") for s in TABLE)}
    for path, options in found.items():
        assert flags <= options, path


def test_interruption_is_calm(cli, monkeypatch):
    monkeypatch.setattr("sekisho.wiring.build", _raiser(KeyboardInterrupt()))
    ended = cli("audit", "verify")
    assert (ended.code, ended.err) == (130, "Stopped.\n")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def wait_until_it_reads(process, seconds=60):
    """Return when the process has started up and spends no more time: it waits for its standard input."""
    seen, until = -1.0, time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.5)
        spent = sum(psutil.Process(process.pid).cpu_times()[:2])
        if spent > 0.2 and spent == seen:
            return
        seen = spent
    raise AssertionError("it never came to rest")


def test_ctrl_c_ends_a_waiting_command_with_130():
    # What a shell runs in the background ignores Ctrl-C and hands that on; this test may be run so.
    process = start(
        *("judge", "gate", "--text", "-"),
        stdin=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until_it_reads(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"Stopped.\n")


@pytest.mark.skipif(os.name == "nt", reason="arguments are Unicode on Windows")
def test_arguments_that_are_not_utf8_are_refused():
    process = start("judge", "gate", "--text", b"\xff\xfe")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, b"")
    assert err.startswith(b"sekisho: Argument 4 is not UTF-8.")


def test_a_reader_that_goes_away_is_no_traceback():
    process = start("settings", "--json")
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=30)
    assert b"Traceback" not in err


def test_json_is_utf8_whatever_the_locale(tmp_path):
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "SEKISHO_HOME": str(tmp_path / "関所")}
    process = start("settings", "--json", env=env)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(out.decode("utf-8"))[0]["value"].endswith("関所")
    process = start("settings", env=env)
    assert process.communicate(timeout=30)[1] == b""
    assert process.returncode == 0


def test_usage_errors_are_errors_of_ours():
    from typer.exceptions import TyperException

    assert isinstance(room._usage(TyperException("Odd.")), SekishoError)
    assert room._usage(TyperException("Odd")).what == "Odd."


def test_every_command_runs_sealed_and_without_the_libraries_own_news(monkeypatch):
    def asked(args):
        with warnings.catch_warnings(record=True) as heard:
            warnings.warn("this will change", FutureWarning, stacklevel=1)
        return 40 + sealed() + 2 * len(heard)

    monkeypatch.setattr(room, "run", asked)
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        room.main()
    assert ended.value.code == 41
