"""The command line as a whole: which commands there are, and how an error or Ctrl-C ends one."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from .. import __version__
from ..core.errors import InputError, MalformedError, SekishoError
from ..host.offline import seal
from . import (
    adapt,
    audit,
    calibrate,
    check,
    escalations,
    judging,
    keys,
    making,
    ocr,
    output,
    policies,
    rubric,
    serving,
    summarise,
    tuning,
    watch,
)
from .options import EPILOG, root_options

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""
_TRAINING = {
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "safetensors",
    "gguf",
    "matplotlib",
    "sklearn",
    "scipy",
}

app = typer.Typer(
    name="sekisho",
    help="The checkpoint for language and vision models inside a closed network.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sekisho {__version__}")
        raise typer.Exit()


@app.callback()
@root_options
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """The checkpoint for language and vision models inside a closed network."""


for group in (
    serving,
    keys,
    making,
    adapt,
    judging,
    escalations,
    rubric,
    ocr,
    summarise,
    calibrate,
    policies,
    tuning,
    audit,
    check,
    watch,
):
    group.register(app)


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    seal()
    if not sys.warnoptions:  # what libraries mean to change is for those who build on them
        warnings.simplefilter("ignore", FutureWarning)
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command and return its exit code. A user's mistake never ends in a traceback."""
    as_json = "--json" in args
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        _readable(args)
        code = app(args=list(args), prog_name="sekisho", standalone_mode=False)
    except SekishoError as e:
        return _failed(e, as_json)
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in _TRAINING:
            raise
        what = f"The package {e.name} is not installed."
        return _failed(SekishoError(what, "Run `pip install 'sekisho[train]'`."), as_json)
    except OSError as e:
        what = f"{e.filename or 'The system'}: {e.strerror or e}."
        return _failed(SekishoError(what, "Check the path, its rights and the free space."), as_json)
    except TyperException as e:
        return _failed(_usage(e), as_json) if e.format_message() else e.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        print("Stopped.", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _readable(args: Sequence[str]) -> None:
    """Refuse arguments that were no UTF-8: Python hands them on as lone surrogates, which no record can keep."""
    for place, arg in enumerate(args, start=1):
        if any("\ud800" <= c <= "\udfff" for c in arg):
            raise MalformedError(f"Argument {place} is not UTF-8.", "Give it in UTF-8.")


def _usage(error: TyperException) -> SekishoError:
    """A wrong command line, as an error of ours."""
    path = getattr(getattr(error, "ctx", None), "command_path", "sekisho")
    what = error.format_message()
    return InputError(what if what[-1] in ".?!" else f"{what}.", f"See `{path} --help`.")


def _failed(error: SekishoError, as_json: bool) -> int:
    output.write_error(error, as_json)
    return error.exit_code
