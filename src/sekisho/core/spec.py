"""One setting: name, how it is read, default, help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ENV_PREFIX = "SEKISHO_"


@dataclass(frozen=True)
class Spec:
    """One row of the table.

    Attributes:
        parse: turns text or a TOML value into the value; raises ValueError with what was expected.
        default: a value, or a function when it depends on the machine.
        help: one sentence for people.
        secret: whether the value is never shown, not even a wrong one.
    """

    name: str
    parse: Callable[[Any], Any]
    default: Any
    help: str
    secret: bool = False

    @property
    def env(self) -> str:
        """Name of the environment variable."""
        return ENV_PREFIX + self.name.upper()

    def value_of_default(self) -> Any:
        """The default, computed if it depends on the machine."""
        return self.default() if callable(self.default) else self.default
