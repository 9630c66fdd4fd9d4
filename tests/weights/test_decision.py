from __future__ import annotations

import json

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoTokenizer, pipeline
from transformers.decision import DecisionConfig

from sekisho.core.prompt import LETTERS, decision_parts
from sekisho.core.question import Option, Question
from sekisho.train.tokenizer import decision_ids
from sekisho.weights.decision import DecisionMeta, systemone_template, write_decision_files

from .makers import phi3, save_folder

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\U000f0000\U000f0001"), max_size=20
)
hostile = st.lists(
    texts | st.sampled_from(["<|end|>", "<|assistant|>", "<|", "|>", "\n", "A "]), max_size=4
).map("".join)


def parts_text(state, question):
    return "".join(text for text, _ in decision_parts(state, question))


@st.composite
def questions(draw, text=texts):
    kind = draw(st.sampled_from(["choice", "score", "noul"]))
    instructions = draw(text.filter(bool) | st.none())
    described = st.none() | text.filter(bool)
    if kind == "noul":
        keys = ["true", "false"]
    elif kind == "score":
        keys = [str(i) for i in range(draw(st.integers(2, 10)))]
        described = text.filter(bool)
    else:
        keys = draw(st.lists(texts.filter(bool), min_size=2, max_size=60, unique=True))
    options = tuple(Option(key=k, description=draw(described)) for k in keys)
    return Question(type=kind, instructions=instructions, options=options)


@pytest.mark.parametrize("trim", [False, True])
@settings(max_examples=60, deadline=None)
@given(state=texts, question=questions())
def test_the_template_is_the_house_prompt_whatever_the_white_space_rules(trim, state, question):
    environment = jinja2.Environment(trim_blocks=trim, lstrip_blocks=trim, keep_trailing_newline=True)
    rendered = environment.from_string(systemone_template()).render(
        state=state, instructions=question.instructions, options=[o.model_dump() for o in question.options]
    )
    assert rendered == parts_text(state, question)


def as_request(question):
    criteria = {o.key: o.description for o in question.options}
    asked = {
        "type": question.type,
        "criteria": list(criteria.values()) if question.type == "score" else criteria,
    }
    return asked | ({"instructions": question.instructions} if question.instructions else {})


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    place = save_folder(phi3(tokenizer), tokenizer, tmp_path_factory.mktemp("hf"))
    write_decision_files(place, DecisionMeta(temperature={"choice": 2.0}))
    return place


@settings(max_examples=40, deadline=None)
@given(state=hostile, question=questions(hostile))
def test_transformers_shows_the_model_our_tokens_also_for_spelt_out_control_tokens(
    folder, tokenizer, state, question
):
    config, theirs = DecisionConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    [(inputs, _)] = config.prepare_inputs({"state": state, "questions": {"q": as_request(question)}}, theirs)
    assert inputs["input_ids"][0].tolist() == decision_ids(tokenizer, state, question)


def test_objects_become_compact_json_in_the_senders_order(folder, tokenizer):
    config, theirs = DecisionConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    state = {"z": [1, None, True], "a": '日本"\n'}
    text = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
    question = {"type": "noul", "instructions": {"b": 1}}
    [(inputs, _)] = config.prepare_inputs({"state": state, "questions": {"q": question}}, theirs)
    same = Question(type="noul", instructions='{"b":1}', options=(Option(key="true"), Option(key="false")))
    assert inputs["input_ids"][0].tolist() == decision_ids(tokenizer, text, same)


def test_the_folder_answers_in_transformers_with_its_temperature(folder, tokenizer):
    import torch

    answer = pipeline("decision", model=str(folder))
    options = (Option(key="a"), Option(key="b", description="second"), Option(key="c"))
    question = Question(type="choice", instructions="Which?", options=options)
    got = answer({"state": "状態", "questions": {"q": as_request(question)}})["q"]["probabilities"]
    with torch.no_grad():
        logits = answer.model(input_ids=torch.tensor([decision_ids(tokenizer, "状態", question)])).logits[
            0, -1
        ]
    labels = [tokenizer.token_to_id(c) for c in "ABC"]
    wanted = (logits[labels].float() / 2.0).softmax(-1).tolist()
    assert list(got.values()) == pytest.approx(wanted, abs=1e-5)


def test_labels_cover_the_longest_list_and_files_are_whole(folder):
    config = json.loads((folder / "decision.json").read_text("utf-8"))
    assert "".join(config["labels"]["choice"]) == LETTERS
    assert config["noul_options"] == ["true", "false"]
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("bad", [{"choice": 0.0}, {"choice": float("inf")}, {"score": -1}, {"gate": 1.0}])
def test_impossible_temperatures_are_refused(bad):
    with pytest.raises(ValidationError):
        DecisionMeta(temperature=bad)
