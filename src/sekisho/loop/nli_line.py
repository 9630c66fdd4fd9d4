"""One NLI classifier, what is laid over it, and what answers now: what the ledger's latest step says."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..core.adapting import Calibrated
from ..core.errors import SekishoError, ShelfError
from ..ledger import adapting
from ..serve.nli_batches import Batcher
from ..tasks.adapting import active
from . import adapters
from .parts import Parts
from .reviewed import TASK

Which = Literal["fast", "slow"]


class Reader(Protocol):
    """A classifier as this verb needs it; `serve.nli.Classifier` is one."""

    name: str
    digest: str
    columns: tuple[str, ...]
    raw: tuple[str, ...]
    longest: int

    @property
    def base(self) -> Any:
        """What answers without an adapter."""
        ...

    def over(self, folder: Any, digest: str) -> Any:
        """What answers with one."""
        ...

    def encoded(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Any]:
        """Each pair as tokens, or the SekishoError that says why it cannot be read."""
        ...


@dataclass(frozen=True)
class Serves:
    """What answers now. A request takes one snapshot of it and keeps it to its end."""

    variant: Any
    calibration: Calibrated | None

    @property
    def version(self) -> str:
        """Name of the calibration in force."""
        return self.calibration.version if self.calibration else "uncalibrated"


class Line:
    """One classifier with its batches and what is laid over it. Opened in a thread: loading takes seconds."""

    def __init__(self, parts: Parts, which: Which) -> None:
        settings = parts.settings
        self._parts = parts
        reader = parts.nli_reader(adapters.nli_folder(parts, which))
        self.reader: Reader = reader
        self.batcher = Batcher(reader.logits, settings.nli_batch, settings.nli_queue)
        self._swap = threading.Lock()
        self.serves = Serves(reader.base, None)
        self.problem: str | None = None
        self.activation: str | None = None
        try:
            self.take_up()
        except SekishoError:
            if self.problem is None:
                raise
            # Else `problem` says it, and the way back over HTTP stays open.

    def take_up(self, ready: Any = None) -> bool:
        """Let the ledger's latest step come true; return whether anything changed.

        Args:
            ready: a variant that was laid just now, should it be what is wanted.

        Raises:
            SekishoError: the adapter that ought to serve is damaged, or cannot be read. Until it is mended or rolled back, nothing is answered.
        """
        with self._swap:
            past = adapters.history(self._parts, self.reader.digest)
            wanted = active(past)
            calibrations = adapting.calibrations(self._parts.ledger, TASK, self.reader.digest, wanted)
            calibration = calibrations[-1] if calibrations else None
            now = self.serves
            if now.variant.adapter == wanted and now.version == (
                calibration.version if calibration else "uncalibrated"
            ):
                self.problem = None
                self.activation = past[-1].id if past else None
                return False
            try:
                laid = next((v for v in (now.variant, ready) if v and v.adapter == wanted), None)
                variant = laid or self._variant(wanted)
            except Exception as e:  # whatever it is, what answers now is not what ought to
                error = e if isinstance(e, SekishoError) else ShelfError(f"{type(e).__name__}: {e}.")
                self.problem = str(error)
                raise error from e
            self.serves = Serves(variant, calibration)
            self.problem, self.activation = None, past[-1].id if past else None
            return True

    def _variant(self, wanted: str | None) -> Any:
        if wanted is None:
            return self.reader.base
        folder, digest = adapters.adapter_folder(self._parts, wanted)
        return self.reader.over(folder, digest)

    def try_on(self, name: str) -> Any:
        """Load an adapter without letting it answer, so that a damaged one is known before anything is written."""
        return self.reader.over(*adapters.adapter_folder(self._parts, name))
