from __future__ import annotations

import json
import random
import shutil
from itertools import permutations
from pathlib import Path

import pytest
import torch

from loop import nli_makers as makers
from sekisho.core.errors import InputError, SekishoError, ShelfError, TooLargeError
from sekisho.data.nli import read_pairs
from sekisho.serve.nli import Classifier
from sekisho.shelf import write_json
from sekisho.train.nli_adapter import adapted, save_adapter
from sekisho.train.nli_recipe import NliAdapt


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return makers.tiny(tmp_path_factory.mktemp("nli") / "tiny")


@pytest.fixture(scope="module")
def reader(folder):
    return Classifier(folder, threads=1)


@pytest.fixture(scope="module")
def adapter(folder, reader, tmp_path_factory):
    """An adapter whose LoRA and head say something else than the base's."""
    out = tmp_path_factory.mktemp("adapter") / "a"
    out.mkdir()
    model = adapted(NliAdapt(name="x"), folder, "sha256:0")
    torch.manual_seed(3)
    for name, p in model.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            torch.nn.init.normal_(p, std=0.2)
    save_adapter(model, out)
    write_json(out / "made.json", {"base": reader.digest, "columns": list(reader.columns)})
    return out


def rows(reader, count=40):
    return [reader.encode(s["premise"], s["hypothesis"]) for s in makers.sentences(count)]


def by_width(found):
    return {w: [r for r in found if r.width == w] for w in {r.width for r in found}}


def test_what_a_row_is_batched_with_changes_nothing(reader):
    for same in by_width(rows(reader)).values():
        together = reader.logits(reader.base, same)
        assert [reader.logits(reader.base, [r])[0] for r in same] == together
        assert reader.logits(reader.base, same[::-1]) == together[::-1]


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_classifier_that_ships_answers_with_the_same_bits_in_every_batch(precision):
    """With one product over all pairs of a batch nine of ten float32 rows would end in other bits."""
    root = Path(__file__).parents[2]
    reader = Classifier(root / "models" / "nano-nli", threads=2, precision=precision)
    draw = random.Random(1)
    pairs = draw.sample(read_pairs(root / "data", ["jsick"]), 150)
    for same in by_width(reader.encoded([(p.premise, p.hypothesis) for p in pairs])).values():
        alone = {r: reader.logits(reader.base, [r])[0] for r in same}
        for _ in range(8):
            some = draw.choices(same, k=draw.randint(2, 32))
            assert reader.logits(reader.base, some) == [alone[r] for r in some]


def test_an_adapter_too_answers_with_the_same_bits_in_every_batch(reader, adapter):
    over = reader.over(adapter, "sha256:1")
    for same in by_width(rows(reader)).values():
        alone = [reader.logits(over, [r])[0] for r in same]
        assert alone == reader.logits(over, same)
    assert not [n for n, m in over.model.named_modules() if type(m) is torch.nn.Linear]


def test_both_precisions_say_the_same(folder, adapter):
    quick, exact = (Classifier(folder, threads=1, precision=p) for p in ("float32", "float64"))
    (row,) = rows(quick, 1)
    for a, b in ((quick.base, exact.base), (quick.over(adapter, "a"), exact.over(adapter, "a"))):
        assert {p.dtype for p in a.model.parameters()} == {torch.float32}
        assert {p.dtype for p in b.model.parameters()} == {torch.float64}
        assert quick.logits(a, [row])[0] == pytest.approx(exact.logits(b, [row])[0], abs=1e-5)


def test_the_plain_model_says_the_same(reader, folder):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for row in rows(reader, 8):
        given = {
            "input_ids": [row.ids],
            "token_type_ids": [row.types],
            "attention_mask": [[1] * len(row.ids)],
        }
        with torch.inference_mode():
            want = model(**{k: torch.tensor(v) for k, v in given.items()}).logits[0].tolist()
        assert reader.logits(reader.base, [row])[0] == pytest.approx(want, abs=1e-5)


def test_an_adapter_shares_the_base_and_leaves_it_alone(reader, adapter):
    some = rows(reader)[:1]
    before = reader.logits(reader.base, some)
    over = reader.over(adapter, "sha256:1")
    assert reader.logits(over, some) != before
    assert reader.logits(reader.base, some) == before
    own = {p.data_ptr() for p in reader.base.model.parameters()}
    lent = [
        p.data_ptr()
        for n, p in over.model.named_parameters()
        if "lora" not in n and "modules_to_save" not in n
    ]
    assert set(lent) <= own


def test_an_adapter_of_another_base_or_label_map_is_refused(reader, adapter, tmp_path):
    made = json.loads((adapter / "made.json").read_text())
    for change in ({"base": "sha256:other"}, {"columns": made["columns"][::-1]}):
        other = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(adapter, other)
        write_json(other / "made.json", made | change)
        with pytest.raises(ShelfError, match="not"):
            reader.over(other, "x")


def test_a_damaged_adapter_is_a_clear_error(reader, adapter, tmp_path):
    whole = (adapter / "adapter_model.safetensors").read_bytes()
    damages = {
        "cut": ("adapter_model.safetensors", whole[: len(whole) // 2]),
        "empty": ("adapter_model.safetensors", b""),
        "noise": ("adapter_model.safetensors", b"\xff" * 500),
        "config": ("adapter_config.json", b"{"),
        "made": ("made.json", b"[]"),
    }
    for name, (file, data) in damages.items():
        other = tmp_path / name
        shutil.copytree(adapter, other)
        (other / file).write_bytes(data)
        with pytest.raises(ShelfError):
            reader.over(other, "x")
    with pytest.raises(ShelfError):
        reader.over(tmp_path / "absent", "x")


def test_a_long_premise_loses_its_end_and_says_so(reader):
    row = reader.encode("word " * 500, "a claim")
    assert len(row.ids) == reader.longest
    assert row.cut > 0
    assert row.ids[-5:] != reader.encode("word", "another")[0:1] if isinstance(row, tuple) else True
    short = reader.encode("word", "a claim")
    assert short.cut == 0
    assert (
        row.ids[-len(reader.tokenizer("a claim", add_special_tokens=False)["input_ids"]) - 1 :]
        == short.ids[-len(reader.tokenizer("a claim", add_special_tokens=False)["input_ids"]) - 1 :]
    )


@pytest.mark.parametrize(
    ("premise", "hypothesis", "error"),
    [
        ("", "b", InputError),
        ("a", " \n", InputError),
        ("a", "word " * 500, TooLargeError),
        ("x" * 100_001, "b", TooLargeError),
    ],
)
def test_what_cannot_be_read(reader, premise, hypothesis, error):
    with pytest.raises(error):
        reader.encode(premise, hypothesis)


def test_marks_in_a_text_are_letters(reader):
    row = reader.encode("a [SEP] b [CLS] [PAD] [MASK]", "c")
    sep, cls, pad, mask = (
        reader.tokenizer.convert_tokens_to_ids(t) for t in ("[SEP]", "[CLS]", "[PAD]", "[MASK]")
    )
    assert row.ids.count(sep) == 2
    assert row.ids.count(cls) == 1
    assert not {pad, mask} & set(row.ids)


def test_every_order_of_labels_gives_the_same_answers(tmp_path, folder):
    raw = ("contradiction", "entailment", "neutral")
    reference = Classifier(folder, threads=1)
    row = rows(reference, 1)
    want = dict(zip(reference.columns, reference.logits(reference.base, row)[0], strict=True))
    from safetensors.torch import load_file, save_file

    for order in permutations(range(3)):
        other = tmp_path / "".join(map(str, order))
        shutil.copytree(folder, other)
        tensors = load_file(other / "model.safetensors")
        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = tensors[name][list(order)].contiguous()
        save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((other / "config.json").read_text())
        config["id2label"] = {str(i): raw[k] for i, k in enumerate(order)}
        (other / "config.json").write_text(json.dumps(config))
        reader = Classifier(other, threads=1)
        assert reader.raw == tuple(raw[k] for k in order)
        found = dict(zip(reader.columns, reader.logits(reader.base, row)[0], strict=True))
        assert found == pytest.approx(want, abs=2e-6)


def test_what_is_no_classifier(tmp_path, folder):
    with pytest.raises(ShelfError, match="LABEL_0"):
        Classifier(makers.tiny(tmp_path / "x", labels=("LABEL_0", "LABEL_1", "LABEL_2")))
    shutil.copytree(folder, tmp_path / "torn")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"x")
    for name in ("torn", "absent"):
        with pytest.raises(SekishoError):
            Classifier(tmp_path / name)
