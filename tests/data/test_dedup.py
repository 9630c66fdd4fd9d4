import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.data.clean import clean
from sekisho.data.dedup import THRESHOLD, Grouped, components, deduplicate, jaccard, near_pairs, shingles
from sekisho.data.split import split_of

LONG = "院内の薬品棚の鍵を当直の看護師に渡す手順を一枚の紙にまとめてください"


def topic_in(split, prefix="x"):
    return next(f"{prefix}-{i}" for i in range(1000) if split_of(f"{prefix}-{i}") == split)


def test_every_near_pair_of_a_real_sample_is_found(bundled):
    """MinHash against every pair compared exactly; a jailbreak sample has many near-duplicates."""
    rows = [r for r in clean(bundled)[0] if r.source in ("jailbreak", "harmful_en")]
    texts = [r.text for r in random.Random(7).sample(rows, 500)]
    sets = [shingles(t) for t in texts]
    exact = {(i, j) for j in range(len(sets)) for i in range(j) if jaccard(sets[i], sets[j]) >= THRESHOLD}
    assert len(exact) > 50
    assert set(near_pairs(texts)) == exact


@given(st.integers(1, 30), st.data())
def test_components_are_the_transitive_closure(count, data):
    pairs = data.draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=40))
    roots = components(count, pairs)
    assert all(roots[a] == roots[b] for a, b in pairs)
    assert all(roots[r] == r and r <= i for i, r in enumerate(roots))
    reached = {i: {i} for i in range(count)}
    for _ in range(count):
        for a, b in pairs:
            reached[a] |= reached[b]
            reached[b] |= reached[a]
    assert all((roots[a] == roots[b]) == (b in reached[a]) for a in range(count) for b in range(count))


def test_minimal_pairs_are_never_duplicates_of_each_other(request_of):
    rows = [
        request_of(id=f"a:{d}", text=LONG + end, decision=d, topic="t-1", source="authored")
        for d, end in (("ALLOW", "。"), ("ESCALATE", "か。"), ("DENY", "よ。"))
    ]
    grouped = Grouped(rows)
    assert len(grouped.pairs) == 3
    kept, drops = deduplicate(grouped)
    assert kept == [0, 1, 2]
    assert drops == []


def test_of_duplicates_the_first_stays(request_of):
    topic = topic_in("train")
    rows = [request_of(id=f"r:{i}", text=LONG + "。" * i, topic=topic) for i in range(3)]
    kept, drops = deduplicate(Grouped(rows))
    assert kept == [0]
    assert [d.reason for d in drops] == ["duplicate", "duplicate"]


def test_a_training_row_near_a_held_out_one_leaks_whatever_its_decision(request_of):
    train, held, calibration = (topic_in(s) for s in ("train", "holdout", "calibration"))
    rows = [
        request_of(id="r:train", text=LONG, topic=train, decision="DENY"),
        request_of(id="r:held", text=LONG + "。", topic=held),
        request_of(id="r:cal", text=LONG + "ね", topic=calibration, decision="ESCALATE"),
    ]
    # exact twins under two decisions would be a conflict; these differ by a character
    rows[0] = rows[0].model_copy(update={"text": LONG + "よ"})
    kept, drops = deduplicate(Grouped(rows))
    assert [rows[i].id for i in kept] == ["r:held"]
    assert {d.request.id: d.reason for d in drops} == {"r:train": "leak", "r:cal": "leak"}


def test_one_text_under_two_decisions_goes_on_both_sides(request_of):
    rows = [request_of(id="r:1", text=LONG, decision="DENY"), request_of(id="r:2", text=LONG + "。")]
    kept, drops = deduplicate(Grouped(rows))
    assert kept == []
    assert {d.reason for d in drops} == {"conflict"}


def test_nothing_bundled_is_near_the_evaluation_file(request_of):
    kept, drops = deduplicate(Grouped([request_of(text=LONG)], [request_of(id="e:1", text=LONG + "！")]))
    assert kept == [1]
    assert [d.reason for d in drops] == ["leak"]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from([LONG, LONG + "。", LONG[::-1], "全く別の短い依頼文"]), min_size=1, max_size=8),
    st.integers(),
)
def test_after_deduplication_no_two_of_one_decision_are_near(request_of, texts, seed):
    kinds = random.Random(seed)
    rows = [
        request_of(id=f"r:{i}", text=t, decision=kinds.choice(("ALLOW", "DENY")), topic=f"t-{i}")
        for i, t in enumerate(texts)
    ]
    grouped = Grouped(rows)
    kept, drops = deduplicate(grouped)
    assert len(kept) + len(drops) == len(rows)
    left = [(shingles(rows[i].text), rows[i].decision, grouped.splits[i]) for i in kept]
    for i, (a, decision, split) in enumerate(left):
        for b, other, place in left[:i]:
            assert jaccard(a, b) < THRESHOLD or (decision != other and split == place)


def test_a_question_and_its_translation_share_a_group(request_of):
    rows = [
        request_of(id="a", text=LONG, family="7"),
        request_of(id="b", text="How do I hand over the key?", family="7"),
    ]
    grouped = Grouped(rows)
    assert grouped.groups[0] == grouped.groups[1]
    assert grouped.splits[0] == grouped.splits[1]
