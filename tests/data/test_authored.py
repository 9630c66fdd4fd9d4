"""The authored requests: complete, distinct, balanced, and not to be guessed from language, length or topic."""

from collections import Counter, defaultdict
from statistics import mean

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from sekisho.data.collect import read_authored
from sekisho.data.corpus import DOMAINS
from sekisho.data.dedup import Grouped, deduplicate
from sekisho.data.leanings import leanings
from sekisho.data.split import split_of

DECISIONS = ("ALLOW", "ESCALATE", "DENY")
CHANCE = 0.40


def test_every_cell_is_filled_and_balanced(authored):
    cells = Counter((r.lang, r.domain, r.decision) for r in authored)
    assert set(cells) == {(g, d, k) for g in ("ja", "en") for d in DOMAINS for k in DECISIONS}
    assert min(cells.values()) >= 50
    for domain in DOMAINS:
        assert len({cells[g, domain, k] for g in ("ja", "en") for k in DECISIONS}) == 1


def test_at_least_2400_stay_after_near_duplicates_are_removed(authored):
    kept, drops = deduplicate(Grouped(authored))
    assert len(kept) >= 2400
    assert len(drops) < 0.05 * len(authored)


def test_every_pair_has_three_requests_of_like_length(authored):
    pairs = defaultdict(list)
    for r in authored:
        pairs[r.pair].append(r)
    assert len(pairs) * 3 == len(authored)
    for name, rows in pairs.items():
        sizes = [len(r.text) for r in rows]
        assert {r.decision for r in rows} == set(DECISIONS), name
        assert max(sizes) <= 1.6 * min(sizes), name


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_mean_lengths_are_within_ten_percent(authored, lang, domain):
    means = [
        mean(len(r.text) for r in authored if (r.lang, r.domain, r.decision) == (lang, domain, k))
        for k in DECISIONS
    ]
    assert max(means) <= 1.10 * min(means)


def test_clauses_are_spread(authored):
    for domain in DOMAINS:
        refs = Counter(r.policy_ref for r in authored if r.domain == domain and r.lang == "ja")
        assert set(refs) == {"A0", *(f"{k}{i}" for k in "ED" for i in range(1, 7))}
        assert min(refs.values()) >= 6, (domain, refs)


def test_language_of_the_text_is_the_language_it_is_filed_under(authored):
    from sekisho.core.gate_prompt import lang_of

    assert [r.id for r in authored if lang_of(r.text) != r.lang] == []


def test_cheap_lookups_score_chance(authored):
    table = leanings(authored)
    assert max(table[name] for name in ("language", "length", "topic")) <= CHANCE


def _halves(authored):
    fit = [r for r in authored if split_of(r.topic) == "train"]
    test = [r for r in authored if split_of(r.topic) != "train"]
    return fit, test


def test_a_fitted_length_and_language_model_scores_chance(authored):
    fit, test = _halves(authored)

    def cues(rows):
        return [[len(r.text), r.lang == "ja", r.text.count(" "), DOMAINS.index(r.domain)] for r in rows]

    model = HistGradientBoostingClassifier(random_state=0).fit(cues(fit), [r.decision for r in fit])
    assert model.score(cues(test), [r.decision for r in test]) <= CHANCE


def test_a_fitted_topic_model_scores_chance(share, authored):
    from sekisho.data.corpus import read_json_lines

    subject = {
        row["topic"]: row["subject"]
        for p in (share / "data/gate/authored").glob("*.jsonl")
        for row in read_json_lines(p)
    }
    fit, test = _halves(authored)
    words = TfidfVectorizer()
    model = LogisticRegression(max_iter=300).fit(
        words.fit_transform([subject[r.topic] for r in fit]), [r.decision for r in fit]
    )
    right = model.predict(words.transform([subject[r.topic] for r in test])) == np.array(
        [r.decision for r in test]
    )
    assert right.mean() <= CHANCE


def test_the_predictors_can_fail(authored):
    """A leak of the label into length or topic is seen, so the tests above can fail."""
    longer = [
        r.model_copy(update={"text": r.text + "。" * 12 * DECISIONS.index(r.decision)}) for r in authored
    ]
    assert leanings(longer)["length"] > CHANCE
    assert leanings([r for r in authored if r.decision == "DENY" or r.lang == "ja"])["language"] > CHANCE


def test_a_topic_without_a_decision_is_named(tmp_path):
    from sekisho.core.errors import DataError

    (tmp_path / "medical.jsonl").write_text(
        '{"topic":"medical-9","ja":{"allow":"a"},"en":{},"escalate_ref":"E1","deny_ref":"D1"}\n'
    )
    with pytest.raises(DataError, match="medical-9"):
        list(read_authored(tmp_path))
