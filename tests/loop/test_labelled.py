"""Labels read from a file, each wrong one named, and from people's words in the ledger."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seeing_eye import PACK, label_file, picture
from sekisho.core.canonical import digest
from sekisho.core.errors import InputError, SekishoError
from sekisho.core.progress import Quiet
from sekisho.loop.labelled import gather, read_labels


def read(folder, *rows):
    file = folder / "labels.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return read_labels(file, PACK, Quiet())


@pytest.fixture
def folder(tmp_path):
    for n in range(2):
        (tmp_path / f"{n}.png").write_bytes(picture(n))
    (tmp_path / "copy.png").write_bytes(picture(0))
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder").mkdir()
    return tmp_path


GOOD = {"image": "0.png", "answers": {"L01": 1}}


def test_labels_are_read_with_the_digests_of_their_images(folder):
    one, two = read(folder, GOOD, {"image": str(folder / "1.png"), "answers": {"L01": 0, "L02": 1}})
    assert (one.image, one.answers) == (digest(picture(0)), {"L01": 1})
    assert two.answers == {"L01": 0, "L02": 1}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"image": "none.png", "answers": {"L01": 1}}, "none.png"),
        ({"image": "text.png", "answers": {"L01": 1}}, "text.png"),
        ({"image": "folder", "answers": {"L01": 1}}, "folder"),
        ({"image": "a\0b", "answers": {"L01": 1}}, "name of a file"),
        ({"image": "\ud800", "answers": {"L01": 1}}, "name of a file"),
        ({"image": "1.png", "answers": {"L01": 1, "Z99": 1}}, "no criterion Z99"),
        ({"image": "1.png", "answers": {"A01": 1, "A02": 0}}, "another pack"),
        ({"image": "1.png", "answers": {"L01": 2}}, "L01: not the number"),
        ({"image": "1.png", "answers": {"L01": True}}, "L01: not the number"),
        ({"image": "1.png", "answers": {"L01": 1.0}}, "L01: not the number"),
        ({"image": "1.png", "answers": {"L01": None}}, "L01: not the number"),
        ({"image": "1.png", "answers": {}}, "labels nothing"),
        ({"image": "1.png", "answers": [1]}, "form"),
        ({"image": 1, "answers": {"L01": 1}}, "form"),
        ({"image": "1.png"}, "form"),
        ({"image": "1.png", "answers": {"L01": 1}, "more": 1}, "form"),
        ({"image": "copy.png", "answers": {"L01": 1}}, "1 and 2 are of the same image"),
        ([], "no JSON object"),
    ],
)
def test_what_is_wrong_with_a_label_is_said(folder, wrong, told):
    with pytest.raises(SekishoError, match=told) as caught:
        read(folder, GOOD, wrong)
    assert caught.value.exit_code == 2
    assert "2" in caught.value.what


def test_no_labels_no_file_and_a_stream_are_said(folder, house):
    with pytest.raises(InputError, match="nothing in it"):
        read(folder)
    for file in (folder / "none.jsonl", folder, folder / "text.png"):
        with pytest.raises(SekishoError) as caught:
            read_labels(file, PACK, Quiet())
        assert caught.value.exit_code == 2
    with pytest.raises(InputError, match="no stream"):
        gather(house, "intake", type(folder)("-"), Quiet())


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["image", "answers", "L01", "Z99"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)  # it writes and reads a file
@given(st.lists(_VALUES, max_size=3))
def test_whatever_stands_in_the_file_is_refused_in_words(tmp_path_factory, rows):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    with pytest.raises(SekishoError) as caught:  # none of them names an image that is there
        read(folder, *rows)
    assert caught.value.exit_code == 2
    assert caught.value.do


def test_the_digest_of_the_data_knows_images_and_labels_not_names_and_order(folder, house, monkeypatch):
    from seeing_eye import seeing

    seeing(monkeypatch)
    file = label_file(folder, 3)
    first = gather(house, "intake", file, Quiet())
    lines = file.read_text().splitlines()
    (folder / "moved.png").write_bytes(picture(2))
    file.write_text("\n".join([lines[2].replace("2.png", "moved.png"), lines[0], lines[1]]))
    other = gather(house, "intake", file, Quiet())
    assert (first.data, first.file != other.file) == (other.data, True)
    file.write_text("\n".join([lines[0], lines[1]]))
    assert gather(house, "intake", file, Quiet()).data != first.data
