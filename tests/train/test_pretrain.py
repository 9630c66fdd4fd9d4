from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from sekisho.core.canonical import folder_digest
from sekisho.core.prompt import LETTERS
from sekisho.core.question import Option, Question
from sekisho.data.corpus import Document
from sekisho.train.batches import DecisionRows
from sekisho.train.fit import load_base
from sekisho.train.pretrain import document_ids, pack, pretrain
from sekisho.train.recipe import Decisions

from .conftest import requests, tiny_pretrain


def text(words: str) -> Document:
    return Document(sort="text", source="s", licence="l", lang="en", text=words)


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    alphabet = text(("\n".join(LETTERS) + "\n") * 30)
    return [alphabet, *(text(e.state + " " + e.label) for e in requests(200))]


def test_a_decision_document_shows_its_options_and_ends_with_the_right_label(tokenizer) -> None:
    question = Question(type="choice", instructions="?", options=(Option(key="no"), Option(key="yes")))
    document = Document(
        sort="decision", source="s", licence="l", lang="en", text="state", question=question, label="yes"
    )
    ids = document_ids(tokenizer, document)
    shown = tokenizer.decode(ids, skip_special_tokens=False)
    assert shown.endswith("<|end|><|assistant|>B<|end|><|endoftext|>")
    assert "A no\nB yes\n" in shown


def test_packing_is_the_same_every_time_and_follows_the_mix(tokenizer) -> None:
    documents = [text(f"explain the record {i}") for i in range(40)]
    once = pack(tokenizer, documents, tiny_pretrain())
    again = pack(tokenizer, documents, tiny_pretrain())
    assert torch.equal(once._rows, again._rows)
    assert len(pack(tokenizer, documents, tiny_pretrain(mix={"s": 3}))) >= 2.8 * len(once)


def test_both_stages_make_a_model_that_loads_and_the_same_run_gives_the_same_weights(
    documents: list[Document], tmp_path: Path
) -> None:
    recipe = tiny_pretrain(epochs=1, decisions=Decisions(epochs=1, batch=16, bpe_dropout=0.0))
    digests = set()
    for name in ("one", "two"):
        folder = pretrain(recipe, documents, tmp_path / name, requests(48))
        digests.add(folder_digest(folder))
    assert len(digests) == 1
    language = AutoModelForCausalLM.from_pretrained(tmp_path / "one" / "language", local_files_only=True)
    model, _ = load_base(folder)
    assert any(
        not torch.equal(a, b) for a, b in zip(language.float().parameters(), model.parameters(), strict=True)
    )


def test_held_out_documents_are_never_trained_on(documents: list[Document]) -> None:
    many = [text(f"document {i}") for i in range(2000)]
    held = sum(d.held_out() for d in many)
    assert 15 <= held <= 75


def test_bpe_dropout_cuts_the_same_row_differently_and_keeps_its_text(tokenizer) -> None:
    rows = DecisionRows(requests(1), tokenizer, 192, bpe_dropout=0.3)
    seen = {tuple(rows[0]["input_ids"]) for _ in range(20)}
    assert len(seen) > 1
    assert len({tokenizer.decode(list(ids), skip_special_tokens=False) for ids in seen}) == 1
    plain = DecisionRows(requests(1), tokenizer, 192)
    assert plain[0] == plain[0]


def test_a_base_may_go_on_from_another_without_the_first_stage(
    documents: list[Document], tmp_path: Path
) -> None:
    first = pretrain(tiny_pretrain(epochs=1), documents, tmp_path / "one")
    before = folder_digest(first)
    recipe = tiny_pretrain(decisions=Decisions(epochs=1, batch=16, bpe_dropout=0.0))
    more = pretrain(recipe, [], tmp_path / "two", requests(48), start=first)
    assert not (tmp_path / "two" / "language").exists()
    assert folder_digest(first) == before
    assert (more / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    begun, model = load_base(first)[0], load_base(more)[0]
    apart = [(a - b).abs().max().item() for a, b in zip(begun.parameters(), model.parameters(), strict=True)]
    assert 0 < max(apart) < 0.1


def test_what_was_learnt_is_blended_with_what_a_base_began_from(
    documents: list[Document], tmp_path: Path
) -> None:
    first = pretrain(tiny_pretrain(epochs=1), documents, tmp_path / "one")
    course = Decisions(epochs=1, batch=16, bpe_dropout=0.0, learning_rate=0.02)
    made = [
        pretrain(
            tiny_pretrain(decisions=course, blend=share), [], tmp_path / str(share), requests(48), start=first
        )
        for share in (1.0, 0.25)
    ]
    begun, whole, blended = (
        load_base(folder)[0].state_dict()["model.embed_tokens.weight"] for folder in (first, *made)
    )
    assert (whole - begun).abs().max() > 2e-3
    torch.testing.assert_close(blended, begun.lerp(whole, 0.25), rtol=0.01, atol=1e-4)


def test_a_pass_sees_the_sources_that_are_named(tokenizer) -> None:
    rows = requests(3)
    own, authored, wrapped = (
        e.model_copy(update={"meta": {**e.meta, **meta}})
        for e, meta in zip(
            rows,
            (
                {"source": "wordings", "pair": None, "variant": 2},
                {"source": "authored", "pair": "t:en", "variant": 0},
                {"source": "authored", "pair": "t:en", "variant": 1},
            ),
            strict=True,
        )
    )
    assert [Decisions().repeats(e) for e in (own, authored, wrapped)] == [0, 1, 1]
    bare = Decisions(sources={"wordings": 3, "authored": 1}, variants=False)
    assert [bare.repeats(e) for e in (own, authored, wrapped)] == [3, 1, 0]
