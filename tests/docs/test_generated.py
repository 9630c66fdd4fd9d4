"""The generated parts of the documents say what the program says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from sekisho import metrics
from sekisho.cli.main import app
from sekisho.core.errors import all_errors
from sekisho.core.table import TABLE

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "docs.py"


@pytest.fixture(scope="module")
def docs():
    spec = importlib.util.spec_from_file_location("docs_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_generated_part_is_up_to_date():
    checked = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, cwd=ROOT)
    assert checked.returncode == 0, checked.stderr


def test_a_part_that_is_out_of_date_is_found(docs, monkeypatch, capsys):
    monkeypatch.setattr(docs, "generated", lambda: iter([(Path("README.md"), "another text")]))
    assert docs.main(["--check"]) == 1
    assert "README.md differs" in capsys.readouterr().err


def test_only_what_stands_between_the_marks_is_replaced(docs):
    text = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb"
    assert docs.replaced(text, "x", "new") == "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb"
    with pytest.raises(ValueError, match="y"):
        docs.replaced(text, "y", "new")


def test_every_setting_is_documented():
    text = read("settings.md")
    assert len(TABLE) >= 20
    for spec in TABLE:
        assert f"| `{spec.name}` | `--{spec.name.replace('_', '-')}` | `{spec.env}` |" in text


def test_every_command_is_documented():
    text = read("commands.md")
    paths = list(_paths("sekisho", typer.main.get_command(app)))
    assert len(paths) >= 16
    for path in paths:
        assert f"### `{path}" in text


def _paths(path: str, found):
    children = getattr(found, "commands", None)
    for name, child in (children or {}).items():
        yield from _paths(f"{path} {name}", child)
    if not children:
        yield path


def test_every_endpoint_is_documented(tmp_path):
    from sekisho import wiring
    from sekisho.core.settings import load
    from sekisho.web.app import create_app

    house = wiring.build(load(flags={"home": str(tmp_path)}))
    routes = create_app(house).openapi()["paths"]
    house.close()
    assert len(routes) >= 8
    for path, methods in routes.items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in read("endpoints.md")


def test_every_metric_is_documented():
    names = [line.split()[2] for line in _exposition().splitlines() if line.startswith("# TYPE")]
    families = {n for n in names if not n.endswith("_created")}
    assert len(families) >= 10
    for name in families:
        assert f"| `{name}` |" in read("metrics.md")


def _exposition() -> str:
    from prometheus_client import generate_latest

    return generate_latest(metrics.REGISTRY).decode()


def test_every_error_code_is_documented():
    for error in all_errors():
        assert f"| `{error.code}` | {error.http_status} | {error.exit_code} |" in read("errors.md")
