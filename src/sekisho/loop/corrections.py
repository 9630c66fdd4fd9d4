"""Corrections as examples: the latest word on each text, in one split, and how many of them there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.canonical import digest_text
from ..core.gate_prompt import DEFAULT_CONTRACT, gate_state, lang_of
from ..core.question import Example, gate_question
from ..core.records import Correction
from ..data import format as gateset
from ..data.split import SPLITS, split_of
from ..ledger import views
from .gather import data_folder
from .parts import Parts


@dataclass(frozen=True)
class Filed:
    """The gate's corrections in force.

    Attributes:
        splits: one example a text, by split; erased texts are left out.
        conversations: corrections of several texts at once. Their label is of the whole, so no row is made of them.
    """

    splits: Mapping[str, list[Example]]
    conversations: int


def filed(parts: Parts) -> Filed:
    """Every correction of the gate in force.

    A text that was gathered stays in the split it was gathered into, or a row that proves a model would be trained on; one that is only
    evaluated on counts as held out. The split of any other text is decided by its own digest.
    """
    places, latest, conversations = _gathered(parts), dict[str, Example](), 0
    for correction in views.corrections_for(parts.ledger, "gate"):
        content = parts.ledger.content(correction.content) if correction.content else None
        texts = _texts(content)
        conversations += len(texts) > 1
        if len(texts) == 1:
            contract = str((content or {}).get("contract", DEFAULT_CONTRACT))
            latest[texts[0]] = _example(correction, texts[0], contract)
    splits: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for text, example in latest.items():
        splits[places.get(text) or split_of(example.group)].append(example)
    return Filed(splits, conversations)


def _gathered(parts: Parts) -> dict[str, str]:
    """The split of every gathered text; of two, the one that is further from training. Empty before anything was gathered."""
    if not (data_folder(parts) / gateset.MANIFEST).is_file():
        return {}
    rows = {name: gateset.read_split(data_folder(parts), name) for name in gateset.FILES}
    shown = {name: "holdout" if name == "evaluation" else name for name in rows}
    return {str(e.meta["text"]): shown[name] for name, examples in rows.items() for e in examples}


def _texts(content: object) -> list[str]:
    """The texts a correction is about."""
    if not isinstance(content, dict):
        return []
    return [t for t in content.get("requests") or [content.get("state")] if isinstance(t, str)]


def _example(correction: Correction, text: str, contract: str) -> Example:
    lang = lang_of(text)
    return Example(
        id=digest_text(f"correction:{text}"),
        state=gate_state(text, lang, contract),
        question=gate_question(),
        label=correction.label,
        group=digest_text(text),
        meta={
            "text": text,
            "lang": lang,
            "domain": contract,
            "source": "corrections",
            "correction": correction.id,
        },
    )
