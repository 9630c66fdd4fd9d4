"""The error tree. Each error says what happened and what to do, and is rendered once by the CLI and once by the web.

`code` is stable and documented in docs/errors.md; `http_status` is used by the web, `exit_code` by the CLI.
"""

from __future__ import annotations

from collections.abc import Iterator


class SekishoError(Exception):
    """Base of every error a user may see.

    Args:
        what: what happened, one sentence.
        do: what the user can do about it, one sentence.
    """

    code = "internal"
    http_status = 500
    exit_code = 1

    def __init__(self, what: str, do: str = "") -> None:
        self.what = what
        self.do = do
        super().__init__(f"{what} {do}".strip())


class InputError(SekishoError):
    """The request itself is wrong: a missing field, a wrong type, an impossible value."""

    code = "invalid_input"
    http_status = 422
    exit_code = 2

    def __init__(self, what: str, do: str = "", loc: tuple[str | int, ...] = ()) -> None:
        super().__init__(what, do)
        self.loc = loc


class MalformedError(SekishoError):
    """The body could not be read at all: not UTF-8, not JSON, an encoding that is not spoken."""

    code = "malformed_body"
    http_status = 400
    exit_code = 2


class TooLargeError(SekishoError):
    """The body, or the prompt in tokens, is over a stated limit. Nothing is ever truncated instead."""

    code = "too_large"
    http_status = 413
    exit_code = 2


class UnsupportedEncodingError(SekishoError):
    """The content type or content encoding is not one that is spoken here."""

    code = "unsupported_encoding"
    http_status = 415
    exit_code = 2


class NotFoundError(SekishoError):
    """A judgement, model, adapter or file with that name does not exist."""

    code = "not_found"
    http_status = 404
    exit_code = 2


class AccessError(SekishoError):
    """No token, or a wrong one."""

    code = "access_denied"
    http_status = 401
    exit_code = 2


class HostError(AccessError):
    """The request came by a name or from a page that is not this machine's: what a web page of another site would send."""

    code = "foreign_host"
    http_status = 403


class ScopeError(SekishoError):
    """The API key is a right one, but this is not among what it may do."""

    code = "scope_missing"
    http_status = 403
    exit_code = 2


class ConflictError(SekishoError):
    """The step is not allowed in the present state: promoting without a passing proof, for example."""

    code = "conflict"
    http_status = 409
    exit_code = 2


class OverloadedError(SekishoError):
    """The queue is full. `retry_after` is in seconds."""

    code = "overloaded"
    http_status = 429
    exit_code = 1

    def __init__(self, what: str, do: str = "", retry_after: int = 1) -> None:
        super().__init__(what, do)
        self.retry_after = retry_after


class EngineError(SekishoError):
    """The engine is down, gave something unreadable, or an answer came too late."""

    code = "engine_unavailable"
    http_status = 503


class EngineTimeoutError(EngineError):
    """The engine did not answer before the deadline."""

    code = "engine_timeout"
    http_status = 503


class DeviceError(SekishoError):
    """A device that was asked for (a GPU) is not there. Ends the start with EX_CONFIG; nothing falls back to another device."""

    code = "device_absent"
    http_status = 503
    exit_code = 78


class BudgetError(SekishoError):
    """The model, its caches and its working memory do not fit into the memory there is. Ends the start before anything is loaded."""

    code = "memory_budget"
    http_status = 503
    exit_code = 78


class ToolError(SekishoError):
    """A program or package that this step needs is not installed; the message names what to install."""

    code = "tool_absent"
    http_status = 503
    exit_code = 78


class LedgerError(SekishoError):
    """The ledger could not be written or read. Nothing is released without it."""

    code = "ledger_unavailable"
    http_status = 503


class ShelfError(SekishoError):
    """A model or adapter on disk is missing, incomplete or not what its digest says."""

    code = "shelf"
    http_status = 409
    exit_code = 2


class DataError(SekishoError):
    """A data file is missing, unreadable or fails validation."""

    code = "data"
    exit_code = 2


class RecipeError(SekishoError):
    """A recipe has unknown or impossible keys. All of them are named at once."""

    code = "recipe"
    exit_code = 2


class TrainingError(SekishoError):
    """Training cannot go on (NaN loss, disk full); the last good checkpoint is intact."""

    code = "training"


class ProofError(SekishoError):
    """A proof could not be made, for example because the hold-out is too small."""

    code = "proof"
    exit_code = 2


class BakeError(SekishoError):
    """Baked weights differ from the gated model by more than the stated tolerance."""

    code = "bake"


class SettingsError(SekishoError):
    """One or more settings are wrong; every problem is in `problems`."""

    code = "settings"
    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            "Settings are wrong:\n" + "\n".join(f"  - {p}" for p in problems),
            "Mend them; `sekisho settings` then shows every setting, its source and its default.",
        )


def all_errors() -> Iterator[type[SekishoError]]:
    """Yield every error class of the tree, for documentation and its test."""
    todo = [SekishoError]
    while todo:
        cls = todo.pop(0)
        if "code" in vars(cls) or cls is SekishoError:
            yield cls
        todo.extend(cls.__subclasses__())
