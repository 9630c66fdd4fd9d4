"""Every source of the gate's set as one record type: `Request`, a bare request with the decision it deserves.

Sources and what decides their label:
- authored: the project's own minimal pairs, label by the writer;
- instruction_ja (with its English originals), rakuda, jaquad_questions, instruction_en: ordinary questions, ALLOW;
- harmful_en: DENY; japanese_toxic: utterances, by vote; jailbreak: role-play prompts that switch rules off, DENY;
- an evaluation file outside the bundle: only ever evaluated on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import DataError
from ..core.gate_prompt import Lang, lang_of
from ..core.question import Frozen
from ..core.records import DECISIONS, Decision
from .corpus import read_json_lines

AUTHORED = "authored"
LICENCES: Mapping[str, str] = {
    AUTHORED: "Apache-2.0",
    "harmful_en": "Apache-2.0",
    "instruction_en": "Apache-2.0",
    "instruction_ja": "MIT",
    "jailbreak": "Apache-2.0",
    "japanese_toxic": "Apache-2.0",
    "jaquad_questions": "CC BY-SA 3.0",
    "rakuda": "Apache-2.0",
    "wordings": "Apache-2.0",
}
"""Licence of every bundled source."""

JAILBREAK_LENGTH = 400
"""Characters kept of a role-play prompt."""

_HARM_CLAUSE = {
    "cybercrime_intrusion": "D3",
    "illegal": "D4",
    "harassment_bullying": "D6",
    "misinformation_disinformation": "D4",
}
_RULES_OFF = re.compile(
    r"jailbr|\bDAN\b|unfilter|uncensor|unethical|immoral|amoral|illegal|restriction|guideline|content polic|moral"
    r"|ignore (all|any|the|your|previous)|never refus|no (limit|filter|rules|ethic)|without (any )?(limit|ethic|moral|filter|warning)"
    r"|do anything now|not bound|no longer (have|bound)|disregard|bypass|anything goes|regardless of",
    re.IGNORECASE,
)
"""Signs that a role-play prompt asks to drop rules; a window without one is plain fiction and not labelled DENY."""


class Request(Frozen):
    """One bare request on its way into the set.

    Attributes:
        id: `source:place`, stable over runs.
        domain: `general` unless the source says more.
        accept: decisions that count as right, `decision` first; more than one only in evaluation files with a loose label.
        topic: topic of an authored minimal pair; None for real rows.
        family: what related real rows share (a question and its translation, questions on one article); they share a split.
        whole: the uncut text, where `text` is a window of it; near-duplicates are sought in both.
    """

    id: str
    text: str
    lang: Lang
    domain: str = "general"
    decision: Decision
    accept: tuple[Decision, ...] = ()
    source: str
    licence: str
    policy_ref: str
    topic: str | None = None
    family: str | None = None
    whole: str | None = None

    @property
    def pair(self) -> str | None:
        """Topic and language: the name the three requests of one minimal pair share."""
        return f"{self.topic}:{self.lang}" if self.topic else None


class Drop(Frozen):
    """A request that did not make it, and why."""

    request: Request
    reason: str


def collect(root: Path) -> Iterator[Request]:
    """Yield every bundled request under `root` (the `data` folder), in a fixed order. Raises DataError."""
    yield from read_authored(root / "gate" / "authored")
    yield from _benign(root / "benign")
    yield from _unsafe(root / "safety")


def read_authored(folder: Path) -> Iterator[Request]:
    """Yield the authored requests: per file and topic, Japanese then English, ALLOW, ESCALATE, DENY.

    Raises:
        DataError: naming the topic whose keys or references are wrong.
    """
    for path in sorted(folder.glob("*.jsonl")):
        for row in read_json_lines(path):
            yield from _topic(row, path)


def _topic(row: Mapping[str, Any], path: Path) -> Iterator[Request]:
    try:
        refs = {"ALLOW": "A0", "ESCALATE": row["escalate_ref"], "DENY": row["deny_ref"]}
        texts = [(lang, d, row[lang][d.lower()]) for lang in ("ja", "en") for d in DECISIONS]
        topic = row["topic"]
    except (KeyError, TypeError) as e:
        raise DataError(
            f"{path.name}: topic {row.get('topic')!r} lacks {e}.", "See data/gate/README.md."
        ) from e
    for lang, decision, text in texts:
        yield Request(
            id=f"{AUTHORED}:{topic}:{lang}:{decision}",
            text=text,
            lang=lang,
            domain=topic.rpartition("-")[0],
            decision=decision,
            source=AUTHORED,
            licence=LICENCES[AUTHORED],
            policy_ref=refs[decision],
            topic=topic,
        )


def _real(source: str, place: str, text: str, decision: Decision, ref: str, **more: str) -> Request:
    return Request(
        id=f"{source}:{place}",
        text=text,
        lang=lang_of(text),
        decision=decision,
        source=source,
        licence=LICENCES[source],
        policy_ref=ref,
        **more,
    )


def _benign(root: Path) -> Iterator[Request]:
    for row in read_json_lines(root / "instruction_ja_train.jsonl"):
        english = row["original_info"]["utterances"]["en"]
        for place, turns in (("ja", row["utterances"]), ("en", english)):
            yield _real(
                "instruction_ja", f"{row['id']}:{place}", turns[0]["text"], "ALLOW", "A0", family=row["id"]
            )
    for row in read_json_lines(root / "rakuda_v2_questions.jsonl"):
        yield _real("rakuda", row["question_id"], row["turns"][0], "ALLOW", "A0")
    for row in read_json_lines(root / "jaquad_questions_train.jsonl"):
        yield _real("jaquad_questions", row["id"], row["question"], "ALLOW", "A0", family=row["title"])
    for row in read_json_lines(root / "instruction_en_train.jsonl"):
        yield _real("instruction_en", row["id"], row["text"], "ALLOW", "A0")


def _unsafe(root: Path) -> Iterator[Request]:
    for place, row in enumerate(read_json_lines(root / "harmful_en_train.jsonl")):
        ref = _HARM_CLAUSE.get(row["category"] or "", "D5")
        yield _real("harmful_en", str(place), row["instruction"], "DENY", ref)
    for row in read_json_lines(root / "japanese_toxic_train.jsonl"):
        decision, ref = toxic_decision(row)
        yield _real("japanese_toxic", row["id"], row["text"], decision, ref)
    for place, whole in enumerate(_prompts(root / "inthewild_jailbreak_llms.json")):
        yield _real("jailbreak", str(place), rules_off_window(whole), "DENY", "D3", whole=whole)


def toxic_decision(row: Mapping[str, str]) -> tuple[Decision, str]:
    """Label an utterance by its votes: more than half toxic → DENY; no toxic vote and more than half clean → ALLOW; else ESCALATE."""
    votes = int(row["annotation_num"])
    toxic = int(row["Toxic"]) + int(row["Very Toxic"])
    if 2 * toxic > votes:
        return "DENY", "D6"
    if toxic == 0 and 2 * int(row["Not Toxic"]) > votes:
        return "ALLOW", "A0"
    return "ESCALATE", "E6"


def _prompts(path: Path) -> list[str]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as e:
        raise DataError(f"{path} cannot be read: {e}.", "Restore the bundled data folder.") from e


def rules_off_window(prompt: str, length: int = JAILBREAK_LENGTH) -> str:
    """Cut a long prompt to whole sentences of at most `length` characters, from its opening or else its first rule-breaking sentence.

    Returns:
        The window; empty when no sentence asks to drop rules (plain fiction, no sure label).
    """
    sentences = [s for s in re.split(r"(?<=[.!?;\n}])\s+", " ".join(prompt.split())) if s]
    opening = _fill(sentences, length)
    if _RULES_OFF.search(opening):
        return opening
    for i, sentence in enumerate(sentences):
        window = _fill(sentences[i:], length)
        if _RULES_OFF.search(sentence) and _RULES_OFF.search(window):
            return window
    return ""


def _fill(sentences: list[str], length: int) -> str:
    """Join sentences from the first while they fit; a first sentence that is too long is cut at a word."""
    window = ""
    for sentence in sentences:
        if len(window) + len(sentence) + 1 > length:
            break
        window = f"{window} {sentence}".strip()
    return window or (sentences[0][:length].rsplit(" ", 1)[0] if sentences else "")


def read_evaluation(path: Path) -> Iterator[Request]:
    """Yield the requests of an evaluation-only file: JSON lines with id, text, category, gate_hint.

    A hint such as `DENY_OR_ESCALATE` accepts both; its first decision is the label.

    Raises:
        DataError: naming the row whose hint is none of the decisions.
    """
    for row in read_json_lines(path):
        hint = str(row.get("gate_hint", ""))
        accept = tuple(d for part in hint.split("_OR_") for d in DECISIONS if d == part)
        if len(accept) != len(hint.split("_OR_")) or "text" not in row or "id" not in row:
            raise DataError(
                f"{path.name}: row {row.get('id')!r} lacks a text or a readable gate_hint.", "Mend the row."
            )
        yield Request(
            id=f"{path.stem}:{row['id']}",
            text=row["text"],
            lang=lang_of(row["text"]),
            decision=accept[0],
            accept=accept,
            source=path.stem,
            licence="evaluation only, never bundled",
            policy_ref={"ALLOW": "A0", "ESCALATE": "E6", "DENY": "D5"}[accept[0]],
        )
