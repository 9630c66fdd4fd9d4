from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core import canonical
from sekisho.core.errors import ShelfError
from sekisho.shelf import Shelf, read_release, write_json


def test_a_folder_stands_under_its_digest_only_when_whole(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with shelf.building("adapters") as folder:
        (folder / "half").write_text("x")
    assert shelf.all("adapters") == []
    with shelf.building("adapters") as folder:
        (folder / "whole").write_text("x")
        digest = shelf.keep("adapters", folder)
    assert shelf.all("adapters") == [shelf.get("adapters", digest)]
    assert list((tmp_path / "adapters").glob(".*")) == []


def test_the_same_content_is_kept_once_and_found_by_its_beginning(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    digests = set()
    for _ in range(2):
        with shelf.building("releases") as folder:
            (folder / "a").write_text("same")
            digests.add(shelf.keep("releases", folder))
    assert len(digests) == len(shelf.all("releases")) == 1
    assert shelf.get("releases", digests.pop()[7:12]).is_dir()


@pytest.mark.parametrize("name", ["", "../..", "sha256:", "zz", "/etc"])
def test_no_name_leads_off_the_shelf(tmp_path: Path, name: str) -> None:
    shelf = Shelf(tmp_path)
    with shelf.building("releases") as folder:
        (folder / "a").write_text("x")
        shelf.keep("releases", folder)
    with pytest.raises(ShelfError):
        shelf.get("releases", name)


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c))
)
def test_json_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert json.loads(path.read_bytes()) == value
    assert len(list(path.parent.iterdir())) == 1


def test_an_unreadable_release_is_clear(tmp_path: Path) -> None:
    with pytest.raises(ShelfError):
        read_release(tmp_path)
    (tmp_path / "release.json").write_text("{}")
    with pytest.raises(ShelfError):
        read_release(tmp_path)


def test_every_file_of_a_release_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path)
    with shelf.building("releases") as folder:
        (folder / "model").write_text("weights")
        fields = dict.fromkeys(("name", "base", "adapter", "recipe", "data", "calibration", "proof"), "x")
        files = {"model": canonical.digest_file(folder / "model")}
        maps = {"files": files, "gguf": {}, "temperatures": {}, "certificate": {}}
        write_json(folder / "release.json", {**fields, **maps, "threshold": 0.5})
        tagged = shelf.keep("releases", folder)
    read: list[str] = []
    real = canonical.digest_file

    def counted(path: Path) -> str:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(canonical, "digest_file", counted)
    monkeypatch.setattr("sekisho.shelf.digest_file", counted, raising=False)
    shelf.release(tagged)
    assert sorted(read) == ["model", "release.json"]
