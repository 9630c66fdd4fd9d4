"""Bundled text with a free licence, as documents for language-model training.

Three sorts of documents: running text, dialogues, and *decisions*: typed questions over a state whose right option is known
(natural language inference, domain of a passage, acceptability of a sentence). The decisions teach a base model to read a list of options;
no gate label is among them, so a gate's hold-out stays unseen.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ..core.canonical import digest_text
from ..core.errors import DataError
from ..core.question import Frozen, Option, Question

DOMAINS = (
    "aerospace", "business", "defense", "finance", "general", "information_systems", "medical", "transport",
)  # fmt: skip

_NLI_ASK = {"ja": "前提から仮説は言えるか。", "en": "Does the premise support the hypothesis?"}
_NLI_KEYS = {"entailment": "supports", "contradiction": "refutes", "neutral": "neutral"}


class Document(Frozen):
    """One training document.

    Attributes:
        sort: text, dialogue or decision.
        text: the text, or the state of a decision.
        turns: (role, text) pairs of a dialogue.
        question: the question of a decision, options in the order they are shown.
        label: key of its right option.
    """

    sort: Literal["text", "dialogue", "decision"]
    source: str
    licence: str
    lang: Literal["ja", "en"]
    text: str = ""
    turns: tuple[tuple[Literal["user", "assistant"], str], ...] = ()
    question: Question | None = None
    label: str | None = None

    def held_out(self) -> bool:
        """Whether the document belongs to the 2 % that are never trained on."""
        return int(digest_text(self.text + repr(self.turns))[-6:], 16) % 100 < 2


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file.

    Raises:
        DataError: naming the file and line that cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if line.strip():
                    yield _parse(line, path, number)
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path} cannot be read: {e}.", "Restore the bundled data folder.") from e


def _parse(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as e:
        raise DataError(f"{path}:{number} is not JSON: {e}.", "Restore the file or drop the line.") from e
    if not isinstance(value, dict):
        raise DataError(f"{path}:{number} is not a JSON object.", "Restore the file or drop the line.")
    return value


def read_corpus(root: Path) -> Iterator[Document]:
    """Yield every document of the bundle under `root` (the `data` folder), in a fixed order."""
    yield from _running_text(root / "text")
    yield from _sentences(root)
    yield from _dialogues(root / "benign")
    yield from _decisions(root)


def _text(source: str, licence: str, text: str, lang: Literal["ja", "en"] = "ja") -> Document:
    return Document(sort="text", source=source, licence=licence, lang=lang, text=text.strip())


def _running_text(root: Path) -> Iterator[Document]:
    for row in read_json_lines(root / "jaquad_wiki_train.jsonl"):
        yield _text("jaquad_wiki", "CC BY-SA 3.0", f"{row['title']}\n{row['text']}")
    for path in sorted((root / "ict_white_paper").glob("h*.txt")):
        for part in _chunks(path.read_text(encoding="utf-8"), 4000):
            yield _text("ict_white_paper", "CC BY 4.0", part)
    for path in sorted((root / "aozora").glob("*.txt")):
        for part in _chunks(path.read_text(encoding="utf-8"), 4000):
            yield _text("aozora", "public domain", part)
    for row in read_json_lines(root / "wac_train.jsonl"):
        yield _text("wac", "CC BY-SA 4.0", row["text"])


def _chunks(text: str, size: int) -> Iterator[str]:
    """Cut a book at the line or sentence end nearest below `size` characters, so that a hold-out by document is possible."""
    while len(text) > size:
        cut = max(text.rfind("\n", 0, size), text.rfind("。", 0, size) + 1)
        cut = cut if cut > size // 2 else size
        yield text[:cut]
        text = text[cut:]
    if text.strip():
        yield text


def _sentences(root: Path) -> Iterator[Document]:
    """Short sentences, joined to documents of twenty so that they fill training rows."""
    ud = (root / "text" / "ud_ja_gsd_dev.txt").read_text(encoding="utf-8").splitlines()
    ita = [
        line.split(":", 1)[-1].split(",")[0]
        for path in sorted((root / "text" / "ita_corpus").glob("*_utf8.txt"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    for source, licence, lines in (("ud_ja_gsd", "CC BY-SA 4.0", ud), ("ita_corpus", "public domain", ita)):
        for i in range(0, len(lines), 20):
            yield _text(source, licence, "\n".join(lines[i : i + 20]))
    rows = list(read_json_lines(root / "nli" / "esnli" / "dev.jsonl"))
    for i in range(0, len(rows), 10):
        said = [f"{r['premise'].strip()} {_sentence(r['explanation_tok'])}" for r in rows[i : i + 10]]
        yield _text("esnli_explanations", "MIT", "\n".join(said), "en")


def _sentence(tokenized: str) -> str:
    text = tokenized.replace(" .", ".").replace(" ,", ",").strip()
    return text[:1].upper() + text[1:]


def _dialogues(root: Path) -> Iterator[Document]:
    for row in read_json_lines(root / "instruction_ja_train.jsonl"):
        yield _dialogue(row["utterances"], "ja")
        yield _dialogue(row["original_info"]["utterances"]["en"], "en")


def _dialogue(utterances: list[dict[str, str]], lang: Literal["ja", "en"]) -> Document:
    turns = tuple(("user" if u["name"] == "user" else "assistant", u["text"].strip()) for u in utterances)
    return Document(sort="dialogue", source="instruction_ja", licence="MIT", lang=lang, turns=turns)


def _decisions(root: Path) -> Iterator[Document]:
    rng = random.Random(20261121)
    for premise, hypothesis, label, lang, source, licence in _nli(root / "nli"):
        state = f"{premise}\n→ {hypothesis}"
        yield _decision(
            rng, state, _NLI_ASK[lang], list(_NLI_KEYS.values()), _NLI_KEYS[label], lang, source, licence
        )
    for row in read_json_lines(root / "domain" / "domain_ja_train.jsonl"):
        yield _decision(
            rng,
            row["text"][:200],
            "分野はどれか。",
            list(DOMAINS),
            row["domain"],
            "ja",
            "domain_ja",
            row["licence"],
        )
    with (root / "text" / "jcola" / "in_domain_train-v1.0.tsv").open(encoding="utf-8") as f:
        for cola in csv.DictReader(f, delimiter="\t"):
            key = "自然" if cola["label"] == "1" else "不自然"
            yield _decision(
                rng,
                cola["sentence"],
                "日本語として自然か。",
                ["自然", "不自然"],
                key,
                "ja",
                "jcola",
                "CC BY-SA 4.0",
            )


def _nli(root: Path) -> Iterator[tuple[str, str, str, Literal["ja", "en"], str, str]]:
    for row in read_json_lines(root / "jnli" / "valid-v1.3.json"):
        yield row["sentence1"], row["sentence2"], row["label"], "ja", "jnli", "CC BY-SA 4.0"
    with (root / "jsick" / "train.tsv").open(encoding="utf-8") as f:
        for row in csv.DictReader(f, delimiter="\t"):
            yield (
                row["sentence_A_Ja"], row["sentence_B_Ja"], row["entailment_label_Ja"], "ja", "jsick", "CC BY-SA 4.0",
            )  # fmt: skip
    for row in read_json_lines(root / "esnli" / "dev.jsonl"):
        yield row["premise"], row["hypothesis"], row["label"], "en", "esnli", "MIT"


def _decision(
    rng: random.Random,
    state: str,
    ask: str,
    keys: list[str],
    label: str,
    lang: Literal["ja", "en"],
    source: str,
    licence: str,
) -> Document:
    """A decision with its options in a random order, so that a base learns to read them rather than their place."""
    shown = rng.sample(keys, len(keys))
    question = Question(type="choice", instructions=ask, options=tuple(Option(key=k) for k in shown))
    return Document(
        sort="decision", source=source, licence=licence, lang=lang, text=state, question=question, label=label
    )
