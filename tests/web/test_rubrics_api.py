"""Images over HTTP: a rubric judged and corrected, text read, pages of other sites kept out or let in."""

from __future__ import annotations

import base64
import re
import shutil
import time

import pytest
from starlette.testclient import TestClient

from sekisho.core.engine import EngineInfo
from sekisho.core.sight import Seen, Sight
from sekisho.loop.recognise import Eyes
from sekisho.web.app import create_app
from small_eye import PACK, eye_folder, picture_file

from . import makers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return eye_folder(tmp_path_factory.mktemp("eye"))


@pytest.fixture
def seeing(tmp_path, folder, engine):
    with makers.house(
        tmp_path, eye_model=str(folder), threads=1, cors_origins="http://localhost:3000"
    ) as house:
        judge = makers.judge_over(house, engine)
        with TestClient(create_app(house, judge), base_url="http://127.0.0.1:8000") as client:
            yield client


def test_the_packs_are_listed(seeing):
    rubrics = seeing.get("/v1/rubrics").json()["rubrics"]
    assert {r["name"] for r in rubrics} == {"intake", "kotaro"}
    assert next(r for r in rubrics if r["name"] == "intake")["criteria"] == 60


def test_a_pack_of_ones_own_lies_beside_those_that_ship(tmp_path, engine):
    share = tmp_path / "share"
    shutil.copytree(makers.ROOT / "policies", share / "policies")
    mine = share / "policies" / "rubrics" / "mine.yaml"
    example = re.search(
        r"```yaml\n(.*?)```", (makers.ROOT / "docs/rubrics.md").read_text(encoding="utf-8"), re.DOTALL
    )[1]
    mine.write_text(example.replace("name: mine", "name: another", 1), encoding="utf-8")
    with makers.house(tmp_path / "home", share=share) as house:

        class Sure:
            info = EngineInfo(engine="fake", model="fake", model_digest="sha256:0", context=0, device="none")

            async def start(self):
                """Nothing to load."""

            async def stop(self):
                """Nothing to free."""

            async def look(self, image, questions, timeout):
                return Seen(log_odds=dict.fromkeys(questions, 3.0))

        app = create_app(house, makers.judge_over(house, engine))
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            object.__setattr__(client.app.state.desk, "eyes", Eyes(house, Sight(Sure())))
            listed = [r["name"] for r in client.get("/v1/rubrics").json()["rubrics"]]
            first = client.post("/v1/rubrics/mine", files={"image": picture_file()}).json()
            mine.write_text(example.replace("id: again", "id: anew"), encoding="utf-8")
            edited = client.post("/v1/rubrics/mine", files={"image": picture_file()}).json()
    assert listed == ["intake", "kotaro", "mine"]
    assert (first["pattern"], edited["pattern"]) == ("again", "again")


def test_three_ways_to_send_an_image_give_the_same_answers(seeing):
    data = picture_file()
    encoded = base64.b64encode(data).decode()
    answers = [
        seeing.post("/v1/rubrics/intake", files={"image": ("form.png", data, "image/png")}),
        seeing.post(
            "/v1/rubrics/intake", json={"assets": {"<image:1>": {"format": "png", "data_base64": encoded}}}
        ),
        seeing.post("/v1/rubrics/intake", content=data, headers={"content-type": "image/png"}),
        seeing.post("/v1/rubrics/intake", json={"images": [f"data:image/png;base64,{encoded}"]}),
    ]
    assert [a.status_code for a in answers] == [200] * 4
    bodies = [a.json() for a in answers]
    assert all(b["checks"] == bodies[0]["checks"] for b in bodies)
    assert len({b["judgement"] for b in bodies}) == 4
    assert [c["id"] for c in bodies[0]["checks"]] == list(PACK.ids)


def test_a_criterion_is_corrected_over_http(seeing):
    found = seeing.post("/v1/rubrics/intake", files={"image": picture_file()}).json()
    said = {"judgement": found["judgement"], "label": "L01:yes", "reason": "I looked."}
    assert seeing.post("/v1/corrections", json=said).status_code == 201
    listed = seeing.get("/v1/judgements", params={"task": "rubric"}).json()["judgements"]
    assert [j["id"] for j in listed] == [found["judgement"]]
    assert seeing.post("/v1/corrections", json={**said, "label": "L01"}).status_code == 422


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"files": {"image": b"GIF89a"}}, 415),
        ({"files": {"image": b"\x89PNG\r\n\x1a\nxx"}}, 422),
        ({"files": [("image", b"a"), ("image", b"b")]}, 422),
        ({"data": {"lang": "ja"}, "files": {}}, 415),
        ({"json": {"assets": {}}}, 422),
        ({"json": {"images": ["https://example.org/a.png"]}}, 422),
        ({"json": {"assets": {"a": {"data_base64": "!!"}}}}, 422),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415),
        ({"files": {"image": b"x"}, "data": {"comments": "many"}}, 422),
        ({"files": {"image": b"x"}, "data": {"lang": "fr"}}, 422),
    ],
)
def test_what_is_no_image_or_no_sense_is_refused(seeing, sent, status):
    assert seeing.post("/v1/rubrics/intake", **sent).status_code == status


def test_words_are_asked_for_in_the_query_as_in_the_body(seeing):
    png = {"content": picture_file(), "headers": {"content-type": "image/png"}}
    for sent in ({"files": {"image": picture_file()}}, png):
        assert seeing.post("/v1/rubrics/intake?lang=xx", **sent).status_code == 422
        assert seeing.post("/v1/rubrics/intake?lang=ja&lang=en", **sent).status_code == 422
        assert seeing.post("/v1/rubrics/intake?comments=100000", **sent).status_code == 422
        answer = seeing.post("/v1/rubrics/intake?lang=en&comments=1", **sent).json()
        assert len(answer["comments"]) == (1 if answer["pattern"] else 0)
        assert all(text.isascii() for text in answer["comments"])
    both = {"files": {"image": picture_file()}, "data": {"lang": "ja"}}
    assert seeing.post("/v1/rubrics/intake?lang=en", **both).status_code == 422
    assert seeing.post("/v1/rubrics/intake?lang=ja", **both).status_code == 200


@pytest.mark.parametrize(("asked", "least"), [({"comments": 4}, 2), ({"comments": 2, "name": "A"}, 1)])
def test_more_comments_than_a_pack_has_are_refused_before_the_look(seeing, monkeypatch, asked, least):
    async def never(*given):
        raise AssertionError("it looked")

    monkeypatch.setattr("sekisho.serve.eyes.torch.TorchEye.look", never)
    answer = seeing.post("/v1/rubrics/intake", files={"image": picture_file()}, data=asked)
    assert answer.status_code == 422
    assert f"at most {least} comments" in answer.text


def test_an_unknown_pack_and_one_not_learnt(seeing):
    assert seeing.post("/v1/rubrics/kotaro", files={"image": picture_file()}).status_code == 409
    nothing = seeing.post("/v1/rubrics/nothing", files={"image": picture_file()})
    assert nothing.status_code == 404
    assert "intake, kotaro" in nothing.text
    assert "path," not in nothing.text
    assert "policies/rubrics" in nothing.text
    assert seeing.post("/v1/rubrics/..%2Fx", files={"image": picture_file()}).status_code in (404, 422)


def test_the_server_watches_its_own_eye(seeing):
    assert seeing.post("/v1/rubrics/intake", files={"image": picture_file()}).status_code == 200
    until = time.monotonic() + 10
    while 'sekisho_rubric_images{eye="eye' not in (told := seeing.get("/metrics").text):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert told.count('sekisho_rubric_prevalence{criterion="') >= len(PACK.ids)


def test_a_missing_answer_is_an_error_over_http_too(house, judge):
    class Lazy:
        info = EngineInfo(engine="lazy", model="lazy", model_digest="sha256:0", context=0, device="cpu")

        async def start(self):
            """Nothing to load."""

        async def stop(self):
            """Nothing to free."""

        async def look(self, image, questions, timeout):
            return Seen(log_odds={})

    with TestClient(create_app(house, judge), base_url="http://127.0.0.1:8000") as client:
        client.app.state.desk = type(client.app.state.desk)(*vars(client.app.state.desk).values())
        object.__setattr__(client.app.state.desk, "eyes", Eyes(house, Sight(Lazy())))
        answer = client.post("/v1/rubrics/intake", files={"image": picture_file()})
    assert answer.status_code == 503
    assert "every criterion" in answer.json()["detail"]["message"]


def test_the_page_loads_nothing_from_outside(seeing):
    page = seeing.get("/rubrics")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.findall(r"(?:https?:)?//[a-z]", page.text.replace("<!doctype", ""))
    assert page.text.count("data-t=") >= 6


def test_pages_of_other_sites_are_let_in_only_by_name(seeing):
    friend, stranger = {"origin": "http://localhost:3000"}, {"origin": "http://evil.example"}
    asked = seeing.options("/v1/rubrics/intake", headers={**friend, "access-control-request-method": "POST"})
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == "http://localhost:3000"
    answer = seeing.post("/v1/rubrics/intake", files={"image": picture_file()}, headers=friend)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    refused = seeing.get("/v1/rubrics", headers=stranger)
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


def test_by_default_no_other_site_is_let_in(client):
    answer = client.get("/v1/rubrics", headers={"origin": "http://localhost:3000"})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_the_page_opens_without_a_key_and_the_images_do_not(tmp_path, engine):
    with makers.house(tmp_path, tokens="secret") as house:
        client = TestClient(
            create_app(house, makers.judge_over(house, engine)), base_url="http://127.0.0.1:8000"
        )
        with client:
            assert client.get("/rubrics").status_code == 200
            assert client.get("/v1/rubrics").status_code == 401
            assert client.post("/v1/rubrics/intake", files={"image": picture_file()}).status_code == 401
