"""Options every command takes (`--json`, `--config`, one flag for each setting) and what a command gets of them: a Call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ..core.progress import Progress
from ..core.settings import Settings, load
from ..core.spec import Spec
from ..core.table import TABLE
from . import output
from .progress import shown

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..wiring import House, Use

COMMON = ("home", "engine", "host", "port", "device")
"""Settings whose flags are shown in every help; the others are taken too, and listed by `sekisho settings`."""
PANEL = "Settings"
EPILOG = "Every setting is a flag of every command: `sekisho settings` lists them."
_PREFIX = "setting_"
_GIVEN = "sekisho.settings"
_METAVARS: Mapping[type, str] = {int: "INTEGER", float: "NUMBER"}


@dataclass(frozen=True)
class Call:
    """One run of a command: its flags, and where its result goes.

    Attributes:
        flags: settings given on the command line, by name.
        config: the settings file that was named.
        json: whether the result is to be one JSON document.
    """

    flags: Mapping[str, str]
    config: Path | None
    json: bool

    def settings(self) -> Settings:
        """Settle the settings. Raises SettingsError with every problem."""
        return load(flags=self.flags, file=self.config)

    @contextmanager
    def house(self, ledger: Use = "make") -> Iterator[House]:
        """Wire the house and close it again; `ledger` as `wiring.build` takes it."""
        from .. import wiring

        house = wiring.build(self.settings(), ledger)
        try:
            yield house
        finally:
            house.close()

    def progress(self) -> AbstractContextManager[Progress]:
        """Progress on stderr, where it disturbs no result."""
        return shown()

    def result(self, model: BaseModel, pairs: Mapping[str, Any] | None = None) -> None:
        """Write a record: whole as JSON, or as the pairs a person wants to see."""
        document = model.model_dump(mode="json")
        if self.json:
            output.write_json(document)
        else:
            output.write_pairs(document if pairs is None else pairs)


class SettingsCommand(TyperCommand):
    """A command that takes the flags which help does not show as well. They are made once for all commands, or every start would take seconds."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's own options, and the flags of all settings outside `COMMON`."""
        shown = _shown_names()
        return [*super().get_params(ctx), *(o for o in _silent() if o.name not in shown)]


class SettingsGroup(TyperGroup):
    """A group of commands that takes every shared option, for those who write them before the last word."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The group's own options, and all shared ones."""
        return [*super().get_params(ctx), *_silent()]


@functools.cache
def _silent() -> list[Any]:
    """Every shared option, absent from help; what it is given goes into the context, for no function names it."""

    def run(ctx: typer.Context, **given: Any) -> None:
        """Has the options."""

    _describe(run, [*_first_parameters(), *_settings([s.name for s in TABLE])])
    holder = typer.Typer(add_completion=False)
    holder.command()(run)
    found: list[Any] = typer.main.get_command(holder).params
    for option in found:
        option.expose_value, option.callback, option.hidden = False, _noted, True
    return found


def _noted(ctx: Any, option: Any, value: Any) -> None:
    if value not in (None, False):
        ctx.meta.setdefault(_GIVEN, {})[option.name] = value


def command(app: typer.Typer, name: str | None = None, panel: str | None = None) -> Callable[..., Any]:
    """Register a function as a command that also takes the shared options.

    The function's first parameter receives the Call; the others are its own arguments and options.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(ctx: typer.Context, **given: Any) -> None:
            shown = {k: v for k in _shown_names() if (v := given.pop(k)) not in (None, False)}
            shared = {**ctx.meta.get(_GIVEN, {}), **shown}
            function(call_of(ctx.find_root().obj or {}, shared), **given)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        _describe(run, [*own, *_first_parameters(), *_settings(COMMON)])
        app.command(name, cls=SettingsCommand, rich_help_panel=panel, epilog=EPILOG)(run)
        return function

    return register


def root_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give the root callback the shared options, for those who write them before the command."""

    @functools.wraps(function)
    def run(ctx: typer.Context, **given: Any) -> None:
        ctx.obj = {k: given.pop(k) for k in _shared_names()}
        function(**given)

    own = list(inspect.signature(function, eval_str=True).parameters.values())
    _describe(run, [*own, *_first_parameters(), *_settings([s.name for s in TABLE])])
    return run


def call_of(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> Call:
    """Join the options before and after the command's name; the later one wins."""
    given = {k: inner[k] if inner.get(k) is not None else outer.get(k) for k in {**outer, **inner}}
    flags = {k.removeprefix(_PREFIX): v for k, v in given.items() if k.startswith(_PREFIX) and v is not None}
    return Call(flags, given.get("config"), bool(inner.get("json") or outer.get("json")))


def flag_of(spec: Spec) -> str:
    """The flag of a setting."""
    return "--" + spec.name.replace("_", "-")


def _shared_names() -> list[str]:
    return ["json", "config", *(_PREFIX + s.name for s in TABLE)]


def _shown_names() -> list[str]:
    return ["json", "config", *(_PREFIX + name for name in COMMON)]


def _first_parameters() -> list[inspect.Parameter]:
    as_json = typer.Option("--json", help="Write the result as one JSON document.", rich_help_panel=PANEL)
    config = typer.Option(
        "--config",
        help="Settings file (TOML).",
        rich_help_panel=PANEL,
        metavar="PATH",
    )
    return [
        _keyword("json", Annotated[bool, as_json], False),
        _keyword("config", Annotated[Path | None, config], None),
    ]


def _settings(names: Sequence[str]) -> list[inspect.Parameter]:
    return [_setting(spec) for spec in TABLE if spec.name in names]


def _setting(spec: Spec) -> inspect.Parameter:
    default = spec.value_of_default()
    metavar = "PATH" if isinstance(default, Path) else _METAVARS.get(type(default), "TEXT")
    option = typer.Option(
        flag_of(spec),
        help=spec.help,
        hidden=spec.name not in COMMON,
        rich_help_panel=PANEL,
        metavar=metavar,
    )
    return _keyword(_PREFIX + spec.name, Annotated[str | None, option], None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _describe(run: Callable[..., None], parameters: list[inspect.Parameter]) -> None:
    """Write the signature Typer reads: the context, then these parameters."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("ctx", keyword, annotation=typer.Context)
    signature = inspect.Signature([context, *(p.replace(kind=keyword) for p in parameters)])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    vars(run).pop("__wrapped__", None)
