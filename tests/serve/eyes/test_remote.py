"""The far eye: schemas that can be relied on, answers read strictly, and never a wrong complete result."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sekisho.core.errors import EngineError, SekishoError
from sekisho.core.sight import Seen
from sekisho.serve.eyes.remote import GROUP, RemoteEye
from sekisho.serve.eyes.schema import answer_schema, lint_schema, read_answers
from sekisho.serve.eyes.sight import require_longer, saw, sized

from ..faulty import Faulty, serving, truth

IDS = [f"L{n:02}" for n in range(1, 41)]
QUESTIONS = {id: f"Is {id} so?" for id in IDS}


def looked(url, times=1, timeout=20.0):
    """What each of several looks gave: the answers, or the error."""

    async def work():
        eye = RemoteEye(url)
        await eye.start()
        found = []
        try:
            for _ in range(times):
                try:
                    found.append(await eye.look(b"\x89PNG", QUESTIONS, timeout))
                except SekishoError as e:
                    found.append(e)
        finally:
            await eye.stop()
        return found

    return asyncio.run(work())


def test_a_server_that_answers_gives_every_answer_as_one_observation():
    with serving(Faulty(1, share=0)) as url:
        (seen,) = looked(url)
    assert {i: int(o > 0) for i, o in seen.log_odds.items()} == {i: truth(i) for i in IDS}
    assert all(abs(o) == pytest.approx(math.log(2)) for o in seen.log_odds.values())


def test_never_a_wrong_complete_result():
    app = Faulty(7, share=0.5, stall=0.2)
    with serving(app) as url:
        found = looked(url, times=40)
    whole = [f for f in found if not isinstance(f, SekishoError)]
    for seen in whole:
        assert {i: int(o > 0) for i, o in seen.log_odds.items()} == {i: truth(i) for i in IDS}
    assert whole
    assert sum(app.faults.values()) > 40


def test_only_the_missing_part_is_asked_again():
    asked = []

    class Forgetful(Faulty):
        async def _told(self, fault, questions, body):
            asked.append(list(questions))
            some = list(questions)[: max(1, len(questions) // 2)]
            content = json.dumps({i: truth(i) for i in some})
            return 200, {"choices": [{"finish_reason": "stop", "message": {"content": content}}]}

    with serving(Forgetful(1)) as url:
        (error,) = looked(url)
    assert isinstance(error, EngineError)
    assert "never answered" in str(error)
    assert [len(a) for a in asked[:4]] == [GROUP, 8, 4, 2]
    assert asked[1] == IDS[7:15]


def test_a_stalled_server_is_left_at_the_deadline():
    class Stalled(Faulty):
        async def _told(self, fault, questions, body):
            await asyncio.sleep(5)

    with serving(Stalled(3)) as url:
        (found,) = looked(url, timeout=1.0)
    assert isinstance(found, SekishoError)


def test_system_one_is_preferred_and_read_strictly():
    class Decider(Faulty):
        def __init__(self, answers):
            super().__init__(1)
            self._answers = answers

        async def _answer(self, path, body):
            if path == "/v1/systemone":
                asked = json.loads(body)
                drawn = len(asked["assets"]["<image:0>"]["data_base64"]) > 1200
                return 200, {"answers": self._answers(asked["questions"], 0.2 if drawn else 0.8)}
            return await super()._answer(path, body)

    with serving(Decider(lambda q, p: {k: {"type": "noul", "noul": p} for k in q})) as url:
        (seen,) = looked(url)
    assert seen.log_odds["L01"] == pytest.approx(math.log(4))


class Wrong(Faulty):
    """Goes wrong in System One as told; answers in chat, or has none, or one that tells no tokens."""

    def __init__(self, status, told, chat):
        super().__init__(1, share=0)
        self._status, self._told_of, self._chat = status, told, chat

    async def _answer(self, path, body):
        if path == "/v1/systemone":
            told = self._told_of
            answers = told if told is None or not told else dict.fromkeys(json.loads(body)["questions"], told)
            return self._status, {"answers": answers}
        if path == "/v1/chat/completions" and self._chat == "none":
            return 404, {"error": "no such route"}
        status, answer = await super()._answer(path, body)
        if self._chat == "uncounted" and isinstance(answer, dict):
            answer.pop("usage", None)
        return status, answer


WRONG = [(200, {"noul": 1.2}), (200, {}), (200, {"noul": True}), (500, {"noul": 0.5})]


@pytest.mark.parametrize(("status", "told"), WRONG)
def test_system_one_that_fails_is_passed_over_for_chat(status, told):
    with serving(Wrong(status, told, "counted")) as url:
        (seen,) = looked(url)
    assert {i: int(o > 0) for i, o in seen.log_odds.items()} == {i: truth(i) for i in IDS}


@pytest.mark.parametrize("chat", ["none", "uncounted", "blind"])
@pytest.mark.parametrize(("status", "told"), WRONG)
def test_where_chat_shows_nothing_either_the_first_failure_is_told(status, told, chat):
    app = Wrong(status, told, chat)
    app.sees = chat != "blind"
    with serving(app) as url:
        (error,) = looked(url)
    assert isinstance(error, EngineError)
    assert ("answered 500" if status == 500 else "The far eye ") in str(error)
    assert "does not look" not in str(error)
    assert app.answered == 0


@pytest.mark.parametrize(
    ("status", "named"), [(404, ("`eye_url`", "`eye_remote_model`")), (401, ("`eye_key`",))]
)
def test_advice_names_the_settings_of_the_eye(status, named):
    class Refusing(Faulty):
        async def _answer(self, path, body):
            return (200, {"data": [{"id": "m"}]}) if path == "/v1/models" else (status, {"error": "no"})

    with serving(Refusing(1)) as url:
        (error,) = looked(url)
    assert isinstance(error, EngineError)
    assert all(name in str(error) for name in named)
    assert "remote_url" not in str(error)


def test_a_closed_port_is_named_with_its_setting():
    async def work():
        eye = RemoteEye("http://127.0.0.1:9", "m")
        await eye.start()
        try:
            await eye.look(b"\x89PNG", QUESTIONS, 20.0)
        finally:
            await eye.stop()

    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9.*connection broke.*`eye_url`"):
        asyncio.run(work())


class Blind(Faulty):
    """Answers in System One, whatever it is shown."""

    async def _answer(self, path, body):
        if path == "/v1/systemone":
            return 200, {"answers": {k: {"noul": 0.8} for k in json.loads(body)["questions"]}}
        return await super()._answer(path, body)


def test_system_one_that_does_not_look_is_not_believed():
    with serving(Blind(1, share=0)) as url:
        (seen,) = looked(url)
    assert {i: int(o > 0) for i, o in seen.log_odds.items()} == {i: truth(i) for i in IDS}


def test_a_server_that_does_not_look_at_all_is_an_error():
    app = Blind(1, share=0)
    app.sees = False
    with serving(app) as url:
        found = looked(url, times=2)
    assert all(isinstance(f, EngineError) and "does not look" in str(f) for f in found)
    assert app.answered == 0


def test_a_look_that_fails_does_not_send_another_to_chat():
    small, large = _png(np.full((64, 64, 3), 255, np.uint8)), _png(np.zeros((3000, 3000, 3), np.uint8))
    chatted = []

    class Breaking(Faulty):
        """Looks in System One; breaks at the small picture."""

        async def _answer(self, path, body):
            if path != "/v1/systemone":
                chatted.append(path)
                return await super()._answer(path, body)
            asked = json.loads(body)
            shown = base64.b64decode(asked["assets"]["<image:0>"]["data_base64"])
            if shown == sized(small, 4096):
                return 200, {"answers": {}}
            chance = 0.2 if len(shown) > 1200 else 0.8
            return 200, {"answers": {k: {"noul": chance} for k in asked["questions"]}}

    async def work(url):
        eye = RemoteEye(url, "model", pixels=4096)
        await eye.start()
        try:
            await eye.look(large, QUESTIONS, 20.0)
            return await asyncio.gather(
                eye.look(large, QUESTIONS, 20.0), eye.look(small, QUESTIONS, 20.0), return_exceptions=True
            )
        finally:
            await eye.stop()

    with serving(Breaking(1, share=0)) as url:
        seen, error = asyncio.run(work(url))
    assert isinstance(seen, Seen)
    assert isinstance(error, EngineError)
    assert not chatted


def _png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_the_server_shows_once_that_it_looks_however_many_ask_at_once():
    counted = []

    class Counting(Faulty):
        async def _answer(self, path, body):
            counted.append(path == "/v1/chat/completions" and json.loads(body)["max_tokens"] == 1)
            return await super()._answer(path, body)

    async def work(url):
        eye = RemoteEye(url)
        await eye.start()
        await asyncio.gather(*(eye.look(b"\x89PNG", QUESTIONS, 20.0) for _ in range(4)))
        await eye.stop()

    with serving(Counting(1, share=0)) as url:
        asyncio.run(work(url))
    assert sum(counted) == 2


def test_a_server_that_ran_out_of_tokens_is_given_more():
    given = []

    class Wordy(Faulty):
        async def _told(self, fault, questions, body):
            given.append(body["max_tokens"])
            return await super()._told("length" if body["max_tokens"] < 1000 else None, questions, body)

    with serving(Wordy(1, share=0)) as url:
        (seen,) = looked(url)
    assert {i: int(o > 0) for i, o in seen.log_odds.items()} == {i: truth(i) for i in IDS}
    assert given[1] > 4 * given[0]


@given(
    st.dictionaries(
        st.sampled_from([*IDS[:6], "Z"]),
        st.one_of(
            st.booleans(), st.integers(-2, 3), st.floats(allow_nan=False), st.text(max_size=2), st.none()
        ),
    )
)
@settings(max_examples=200, deadline=None)
def test_what_is_read_is_zero_or_one_for_what_was_asked(reply):
    found = read_answers(json.dumps(reply), IDS[:6])
    if found:
        assert found == reply
        assert all(type(v) is int and v in (0, 1) for v in found.values())


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_the_reading(text):
    assert isinstance(read_answers(text, IDS), dict)


@pytest.mark.parametrize(
    "text",
    [
        '{"L01": 1, "L01": 0}',
        '{"L01": 1} {"L02": 1}',
        '{"L01": 1, "Z": 1}',
        '{"L01": true}',
        '{"L01": 1.0}',
        "[" * 5000,
    ],
)
def test_one_oddity_spoils_the_reply(text):
    assert read_answers(text, IDS) == {}


def test_our_schema_is_one_that_every_backend_keeps():
    assert lint_schema(answer_schema(IDS)) == []


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (
            {
                "type": "object",
                "properties": {"a": {"type": "integer", "minimum": 0}},
                "required": ["a"],
                "additionalProperties": False,
            },
            "minimum",
        ),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "integer"}},
                "required": [],
                "additionalProperties": False,
            },
            "required",
        ),
        ({"type": "object", "properties": {}, "required": []}, "additionalProperties"),
        ({"type": "array", "items": {}}, "type must be"),
        ({"type": "string", "pattern": "^a"}, "pattern"),
        ({"type": "integer", "default": 0}, "default"),
    ],
)
def test_what_a_backend_may_ignore_is_found(schema, told):
    assert any(told in finding for finding in lint_schema(schema))


@pytest.mark.parametrize(
    ("dark", "drawn", "again", "believed"),
    [
        (0.0, 2.0, 0.0, True),
        (0.0, 0.0, 0.0, False),
        (-13.6, -13.5, -13.6, False),
        (-13.6, -13.2, -13.6, False),
        (-0.85, -0.45, -0.65, False),
        (-9.0, -8.0, -9.0, False),
        (-9.0, -5.0, -9.0, True),
    ],
)
def test_what_differs_by_chance_or_by_rounding_is_no_sight(dark, drawn, again, believed):
    seen = [Seen(log_odds={"P1": value, "P2": 0.0}) for value in (dark, drawn, again)]
    assert saw(*seen) == believed


@pytest.mark.parametrize(
    ("without", "with_image", "fine"), [(30, 94, True), (30, 32, False), (30, 30, False), (None, 9, True)]
)
def test_a_word_in_an_images_place_is_no_sight(without, with_image, fine):
    if fine:
        require_longer(without, with_image)
    else:
        with pytest.raises(EngineError, match="does not look"):
            require_longer(without, with_image)
