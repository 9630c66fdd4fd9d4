"""Write the generated parts of README and docs: settings, commands, endpoints, metrics, errors, the tree, the manifest of bundled files.

    python tools/docs.py            write what differs
    python tools/docs.py --check    write nothing; exit 1 and name what differs

A generated part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; everything else in the file is written by hand.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = Path("data/MANIFEST.tsv")
BUNDLED = ("data", "models")
TOP: Mapping[str, str] = {
    "benchmarks": "the programs behind every figure",
    "data": "bundled real data, each folder with its licence",
    "docker": "containers: Sekisho, LMDeploy, Prometheus, Grafana, LiteLLM",
    "docs": "reference, guides, decisions, the log of what failed",
    "models": "the small models that ship, with model cards",
    "monitoring": "a Grafana dashboard and Prometheus alert rules",
    "policies": "the policy in force, the identity contracts, the rubric packs",
    "recipes": "every knob of a training run",
    "scripts": "a vision model served with LMDeploy, checks first",
    "src/sekisho": "the package",
    "tests": "one folder a room",
    "tools": "set-up, generated documents, the soak",
}
"""What the folders beside the package are for; the package's own files speak through their docstrings."""
MACHINE_DEFAULTS = {"home": "the user's data folder", "share": "this checkout"}


def main(arguments: list[str]) -> int:
    """Write or check every generated part and return the exit code."""
    different = [path for path, text in generated() if not _same(path, text)]
    if "--check" in arguments:
        for path in different:
            print(f"{path} differs from what it is generated from; run `make docs`.", file=sys.stderr)
        return 1 if different else 0
    for path, text in generated():
        if path in different:
            (ROOT / path).write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote {path}")
    return 0


def _same(path: Path, text: str) -> bool:
    return (ROOT / path).is_file() and (ROOT / path).read_text(encoding="utf-8") == text


def generated() -> Iterator[tuple[Path, str]]:
    """Yield every file with generated parts, as it should be."""
    for path, parts in FILES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        for name, make in parts.items():
            text = replaced(text, name, make())
        yield Path(path), text
    yield MANIFEST, manifest()


def replaced(text: str, name: str, new: str) -> str:
    """Return `text` with the part called `name` replaced. Raises ValueError when its marks are missing."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"the marks of {name} are missing")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{new.strip()}\n{end}{rest.split(end)[1]}"


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings() -> str:
    """The settings table."""
    from sekisho.cli.options import flag_of
    from sekisho.core.table import TABLE

    rows = []
    for spec in TABLE:
        default = MACHINE_DEFAULTS[spec.name] if callable(spec.default) else _code(spec.default)
        rows.append((_code(spec.name), _code(flag_of(spec)), _code(spec.env), default, spec.help))
    return table(("setting", "flag", "variable", "default", "meaning"), rows)


def _code(value: Any) -> str:
    return "none" if value is None else f"`{value}`"


def commands() -> str:
    """Every command with its arguments and options, from what `--help` is made of."""
    import typer

    from sekisho.cli.main import app

    return "\n\n".join(
        _command(path, found) for path, found in _leaves("sekisho", typer.main.get_command(app))
    )


def _leaves(path: str, found: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(found, "commands", None)
    if not children:
        yield path, found
        return
    for name, child in children.items():
        yield from _leaves(f"{path} {name}", child)


def _command(path: str, found: Any) -> str:
    """One command; the options every command shares are told once, at the head of the page."""
    rows = []
    for param in found.params:
        if getattr(param, "rich_help_panel", None) == "Settings" or param.name == "help":
            continue
        flags = param.opts if param.param_type_name == "option" else [param.name.upper()]
        names = ", ".join(f"`{name}`" for name in [*flags, *param.secondary_opts])
        needed = (
            "required" if param.required else "" if param.default in (None, False) else f"`{param.default}`"
        )
        rows.append((names, needed, param.help or ""))
    words = " ".join(f"[{p.name.upper()}]" if not p.required else p.name.upper() for p in _arguments(found))
    head = f"### `{f'{path} {words}'.strip()}`\n\n{found.help}"
    return head + ("\n\n" + table(("argument or option", "default", "meaning"), rows) if rows else "")


def _arguments(found: Any) -> list[Any]:
    return [p for p in found.params if p.param_type_name == "argument"]


def endpoints() -> str:
    """Every route of the web application, from its OpenAPI document."""
    from sekisho import wiring
    from sekisho.core.settings import load
    from sekisho.web.app import create_app

    with tempfile.TemporaryDirectory() as home:
        house = wiring.build(load(flags={"home": home}, env={}, file=_no_file(home)))
        paths = create_app(house).openapi()["paths"]
        house.close()
    found = [
        (f"`{m.upper()} {path}`", told) for path, methods in paths.items() for m, told in methods.items()
    ]
    rows = [
        (name, f"{t['summary']}.".replace("?.", "?"), " ".join(t["description"].split())) for name, t in found
    ]
    return table(("endpoint", "in short", "meaning"), rows)


def _no_file(folder: str) -> Path:
    """An empty settings file, so that nobody's own settings get into the documents."""
    file = Path(folder) / "none.toml"
    file.touch()
    return file


def metrics() -> str:
    """Every Prometheus metric."""
    from sekisho import metrics as room

    found = [m for m in vars(room).values() if hasattr(m, "describe") and hasattr(m, "_labelnames")]
    rows = []
    for metric in found:
        family = metric.describe()[0]
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        rows.append((f"`{name}`", family.type, labels, family.documentation))
    return table(("metric", "type", "labels", "meaning"), rows)


def errors() -> str:
    """Every error code."""
    from sekisho.core.errors import all_errors

    rows = [
        (
            f"`{e.code}`",
            str(e.http_status),
            str(e.exit_code),
            " ".join((e.__doc__ or "").split("Args:")[0].split()),
        )
        for e in all_errors()
    ]
    return table(("code", "HTTP", "exit code", "meaning"), rows)


def tree() -> str:
    """The map of the repository: folders, and every file of the package with the first words of its docstring."""
    lines = []
    for folder, told in TOP.items():
        lines.append((f"{folder}/", told))
        if folder == "src/sekisho":
            lines += _package(ROOT / folder, 1)
    width = max(len(name) for name, _ in lines)
    return "```text\n" + "\n".join(f"{name:<{width}}  {told}".rstrip() for name, told in lines) + "\n```"


def _package(folder: Path, depth: int) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda p: (p.is_file(), p.name)):
        if entry.is_dir() and any(entry.rglob("*.py")):
            init = entry / "__init__.py"
            yield "    " * depth + entry.name + "/", _first_words(init) if init.exists() else ""
            yield from _package(entry, depth + 1)
        elif entry.is_dir() and entry.name != "__pycache__":
            yield "    " * depth + entry.name + "/", "files beside the code"
        elif entry.suffix == ".py" and entry.name != "__init__.py":
            yield "    " * depth + entry.name, _first_words(entry)


def _first_words(path: Path) -> str:
    """The first sentence of a module's docstring, without the full stop."""
    line = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    sentence = re.split(r"(?<=[^.])\.(?=\s+[A-Z]|$)", line)[0]
    return textwrap.shorten(sentence, 100, placeholder=" …")


def manifest() -> str:
    """Path, bytes and SHA-256 of every bundled file; `sekisho doctor` compares it with the disk."""
    files = [p for top in BUNDLED for p in sorted((ROOT / top).rglob("*")) if p.is_file()]
    lines = ["path\tbytes\tsha256"]
    for path in files:
        name = path.relative_to(ROOT)
        if name != MANIFEST:
            data = path.read_bytes()
            lines.append(f"{name.as_posix()}\t{len(data)}\t{hashlib.sha256(data).hexdigest()}")
    return "\n".join(lines) + "\n"


FILES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {"tree": tree},
    "docs/settings.md": {"settings": settings},
    "docs/commands.md": {"commands": commands},
    "docs/endpoints.md": {"endpoints": endpoints},
    "docs/metrics.md": {"metrics": metrics},
    "docs/errors.md": {"errors": errors},
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
