"""Check a file of authored gate requests against `data/gate/WRITING.md`; print what is wrong, exit with 2 if anything is."""

import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean

DECISIONS = ("allow", "escalate", "deny")
AUTHORED = Path(__file__).resolve().parents[1] / "data" / "gate" / "authored"
RARE = 60
"""3-grams in fewer requests than this find candidates of near-duplicates."""
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def grams(text: str) -> set[str]:
    """Character 3-grams of a text without its spaces."""
    squeezed = re.sub(r"\s+", "", text.lower())
    return {squeezed[i : i + 3] for i in range(max(1, len(squeezed) - 2))}


def rows_of(path: Path) -> list[dict]:
    """The objects of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def faults_of(row: dict) -> list[str]:
    """What is wrong with one topic, taken alone."""
    found = []
    for lang in ("ja", "en"):
        texts = [row[lang][k] for k in DECISIONS]
        sizes = [len(t) for t in texts]
        if max(sizes) > 1.5 * min(sizes):
            found.append(f"{lang}: lengths {sizes}")
        if len(set(texts)) < 3:
            found.append(f"{lang}: two requests are the same")
        found += [f"{lang}: not {lang}: {t}" for t in texts if bool(JAPANESE.search(t)) != (lang == "ja")]
        found += [f"{lang}: control character: {t!r}" for t in texts if re.search(r"[\x00-\x1f]", t)]
    if not re.fullmatch(r"E[1-6]", row["escalate_ref"]) or not re.fullmatch(r"D[1-6]", row["deny_ref"]):
        found.append("clause")
    return [f"{row['topic']}: {what}" for what in found]


def cues(rows: list[dict], lang: str) -> list[str]:
    """Endings and openings that give a decision away: seen 6 times or more, 75 % of them in one decision."""
    found = []
    for name, cut in (("ending", lambda t: t.rstrip("。.?？!！")[-4:]), ("opening", lambda t: t[:4])):
        seen = Counter((cut(row[lang][k].lower()), k) for row in rows for k in DECISIONS)
        for cue in {c for c, _ in seen}:
            counts = {k: seen[cue, k] for k in DECISIONS}
            if sum(counts.values()) >= 6 and max(counts.values()) >= 0.75 * sum(counts.values()):
                found.append(f"{lang}: {name} {cue!r} gives the decision away: {counts}")
    return found


def whole(path: Path, rows: list[dict]) -> list[str]:
    """What is wrong with the file as a whole."""
    found = []
    for lang in ("ja", "en"):
        means = [mean(len(row[lang][k]) for row in rows) for k in DECISIONS]
        if max(means) > 1.08 * min(means):
            found.append(f"{lang}: mean lengths {dict(zip(DECISIONS, map(round, means), strict=True))}")
        found += cues(rows, lang)
    refs = Counter(row[key] for row in rows for key in ("escalate_ref", "deny_ref"))
    wanted = [f"{k}{i}" for k in "ED" for i in range(1, 7)]
    found += [f"clause {ref}: {refs[ref]} topics" for ref in wanted if refs[ref] < len(rows) / 15]
    return found + clashes(path, rows)


def clashes(path: Path, rows: list[dict]) -> list[str]:
    """Topics used twice, and requests nearly the same as one of another topic, here or in another file."""
    others = [
        row for p in sorted(AUTHORED.glob("*.jsonl")) if p.resolve() != path.resolve() for row in rows_of(p)
    ]
    found = [
        f"{t}: used {n} times" for t, n in Counter(r["topic"] for r in [*rows, *others]).items() if n > 1
    ]
    pool = [(r["topic"], grams(r[g][k])) for r in [*others, *rows] for g in ("ja", "en") for k in DECISIONS]
    holders = defaultdict(set)
    for number, (_, mine) in enumerate(pool):
        for gram in mine:
            holders[gram].add(number)
    for topic, mine in pool[-6 * len(rows) :]:
        near = Counter(number for gram in mine if len(holders[gram]) < RARE for number in holders[gram])
        for number, _ in near.most_common(5):
            other, theirs = pool[number]
            if other != topic and len(mine & theirs) >= 0.7 * len(mine | theirs):
                found.append(f"{topic}: nearly the same as one of {other}")
                break
    return found


def main(path: Path) -> int:
    """Print the faults of a file; return the exit code."""
    rows = rows_of(path)
    faults = [fault for row in rows for fault in faults_of(row)] + whole(path, rows)
    print("\n".join(faults) or f"{path.name}: {len(rows)} topics, nothing to mend")
    return 2 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
