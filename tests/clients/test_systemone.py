"""System One's two Python clients, unmodified: every type, Japanese, retries."""

from __future__ import annotations

import unicodedata

import httpx2
import pytest
import system_one
import typesafe_sdk
from typesafe_sdk import Choice, Noul, Score, TypeSafeClient

from sekisho import metrics
from web import makers

NFC, NFD = (unicodedata.normalize(form, "ガ行ですか？") for form in ("NFC", "NFD"))
LABELS = {NFD: "分解形", NFC: "合成形", "その他 🙂": None}
LEVELS = ["低い", "中くらい", "高い"]


@pytest.fixture
def posts():
    """Every POST that left a client."""
    return []


@pytest.fixture
def typesafe(live, posts):
    def count(request):
        posts.append(request)

    http = httpx2.Client(event_hooks={"request": [count]})
    with TypeSafeClient(api_key="none", base_url=live, http_client=http) as opened:
        yield opened


@pytest.fixture
def vendor_neutral(live):
    return system_one.SystemOne(system_one.HTTPConfig(base_url=live, model="jev-latest", _env_file=None))


def test_scenario_1_typesafe_reads_every_type(typesafe, house):
    questions = {
        NFD: Choice(instructions="どれですか", criteria=LABELS),
        NFC: Noul(instructions={"問": "はいですか"}),
        "点": Score(instructions="どのくらい", criteria=LEVELS),
    }
    got = typesafe.system_one(state={"本文": NFD}, questions=questions)
    assert list(got.choices[NFD].probabilities) == list(LABELS)
    assert got.choices[NFD].choice in LABELS
    assert 0 <= got.nouls[NFC].noul <= 1
    assert got.scores["点"].legend == dict(enumerate(LEVELS))
    assert 0 <= got.scores["点"].score <= 2
    assert got.usage.input_tokens > 0
    assert got.request_id == house.ledger.entries(kind="judgement")[0].record.links["request"]


def test_scenario_1_system_one_reads_every_type(vendor_neutral):
    got = vendor_neutral.ask(
        {"本文": NFD},
        {
            NFD: system_one.Choice(
                instructions="どれですか", criteria={k: v or "他" for k, v in LABELS.items()}
            ),
            NFC: system_one.Noul(instructions="はいですか", criteria={"true": "はい"}),
            "点": system_one.Score(instructions="どのくらい", criteria=LEVELS),
        },
    )
    assert list(got.choices[NFD].probabilities) == list(LABELS)
    assert 0 <= got.nouls[NFC].noul <= 1
    assert 0 <= got.scores["点"].score <= 2


def test_a_long_body_arrives_compressed(typesafe, posts):
    got = typesafe.system_one(state="長い" * 2000, questions={"q": Noul(instructions="?")})
    assert posts[0].headers["content-encoding"] == "zstd"
    assert 0 <= got.nouls["q"].noul <= 1


def test_models(typesafe):
    assert [m.name for m in typesafe.models.list().models] == [makers.MODEL, "jev-latest"]


def test_errors_are_final_and_readable(typesafe, vendor_neutral, posts):
    with pytest.raises(typesafe_sdk.TypeSafeAPIError) as e:
        typesafe.system_one(state="s", questions={"q": Noul(instructions="?")}, model="other")
    assert e.value.status == 404
    assert len(posts) == 1
    with pytest.raises(system_one.APIError) as e:
        vendor_neutral.ask("s", {"q": {"type": "noul"}})
    assert e.value.status == 422


def test_images_are_refused_by_name(typesafe, tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(
        bytes.fromhex(
            "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
        )
    )
    image = typesafe_sdk.Image(picture)
    with pytest.raises(typesafe_sdk.TypeSafeAPIError) as e:
        typesafe.system_one(
            state=f"見て {image}", questions={"q": Noul(instructions="?")}, assets={"photo": image}
        )
    assert e.value.status == 422
    assert "no images" in str(e.value)


def joined() -> float:
    return metrics.RETRIES._value.get()


def test_scenario_3_three_posts_of_typesafe_are_one_judgement(typesafe, posts, engine, house):
    engine.script.delay, before = 1.4, joined()
    got = typesafe.system_one(state=makers.FAMILIAR, questions={"q": Noul(instructions="?")}, timeout=0.3)
    (entry,) = house.ledger.entries(kind="judgement")
    assert len(posts) == 3
    assert joined() == before + 2
    assert engine.asked == 1
    assert got.nouls["q"].noul == entry.record.probabilities["true"]
    assert got.request_id == entry.record.links["request"]


def test_scenario_3_three_posts_of_system_one_are_one_judgement(live, engine, house):
    """This client does not say that it asks again: the server notices that the first connection is gone."""
    engine.script.delay, before = 1.1, joined()
    config = system_one.HTTPConfig(base_url=live, model="jev-latest", timeout=0.3, _env_file=None)
    got = system_one.SystemOne(config).ask(makers.FAMILIAR, {"q": system_one.Noul(instructions="?")})
    (entry,) = house.ledger.entries(kind="judgement")
    assert joined() >= before + 1
    assert engine.asked == 1
    assert got.nouls["q"].noul == entry.record.probabilities["true"]
