"""What a verb is given to work with. `wiring` builds it; the verbs only name what they need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..core.engine import Engine
from ..core.settings import Settings
from ..core.sight import Sight
from ..ledger.store import Ledger
from ..shelf import Release, Shelf


class Parts(Protocol):
    """A wired house."""

    @property
    def settings(self) -> Settings:
        """Settled settings."""
        ...

    @property
    def ledger(self) -> Ledger:
        """The open ledger."""
        ...

    @property
    def shelf(self) -> Shelf:
        """Models and adapters on disk."""
        ...

    @property
    def policy_document(self) -> Mapping[str, Any]:
        """The policy in force, whole."""
        ...

    @property
    def contract_documents(self) -> Mapping[str, Mapping[str, Any]]:
        """Identity contracts by name."""
        ...

    def sight(self) -> Sight:
        """The eye the settings ask for, not yet started."""
        ...

    def engine_for(self, folder: Path, release: Release) -> Engine:
        """An engine, not yet started, that serves a release."""
        ...

    def nli_reader(self, folder: Path) -> Any:
        """The NLI classifier of a folder, loaded."""
        ...
