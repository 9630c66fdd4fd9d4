from __future__ import annotations

from pathlib import Path

import pytest

from sekisho import wiring
from sekisho.core.engine import Laned
from sekisho.core.errors import BudgetError, DeviceError, ShelfError
from sekisho.core.settings import load
from sekisho.host.cores import Shares
from sekisho.serve.rules import KEPT
from sekisho.shelf import Release
from sekisho.weights.gguf import export_gguf

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("release")
    export_gguf(ROOT / "models" / "nano", out / "model-f16.gguf", "f16")
    return out


@pytest.fixture
def release() -> Release:
    name = "model-f16.gguf"
    return Release(
        name="nano",
        base="sha256:0",
        adapter="sha256:1",
        recipe="sha256:2",
        data="sha256:3",
        files={name: "sha256:4"},
        gguf={"f16": name},
        temperatures={},
        calibration="cal",
        threshold=0.9,
        proof="sha256:5",
        certificate={},
    )


def house(home: Path, **flags):
    return wiring.build(load(flags={"home": home, "share": ROOT, **flags}, env={}))


def test_every_engine_comes_with_lanes(tmp_path, folder, release):
    for engine in ("llamacpp", "fake"):
        opened = house(tmp_path / engine, engine=engine, slots=3, spare_slots=1, batch_share=2)
        made = opened.engine_for(folder, release)
        assert isinstance(made, Laned)
        assert made.status()["slots"] == {"held_rt": 0, "held_be": 0, "transfer": 0, "free": 3 + KEPT}
        opened.close()


def test_what_does_not_fit_is_refused_before_anything_is_loaded(tmp_path, folder, release):
    opened = house(tmp_path, memory_limit_mib=300, context=2048, slots=8)
    with pytest.raises(BudgetError, match=r"`context` to at most \d+") as refused:
        opened.engine_for(folder, release)
    most = int(refused.value.do.split("at most ")[1].split(",")[0])
    opened.close()
    assert 256 <= most < 2048
    opened = house(tmp_path, memory_limit_mib=300, context=most, slots=8)
    assert opened.engine_for(folder, release)
    opened.close()


def test_free_memory_is_the_limit_when_none_is_set(tmp_path, folder, release):
    opened = house(tmp_path)
    found = wiring.memory_budget(opened.settings, folder, release)
    assert found is not None
    assert found.fits
    assert found.limit > 256 << 20
    assert list(found.parts) == ["weights", "key-value cache", "working memory", "runtime"]
    opened.close()


def test_spare_and_kept_slots_and_the_type_of_the_cache_count(tmp_path, folder, release):
    def cache(**flags) -> int:
        settings = load(flags={"home": tmp_path, "share": ROOT, **flags}, env={})
        return wiring.memory_budget(settings, folder, release).parts["key-value cache"]

    assert cache(slots=2, spare_slots=2 + KEPT) == 2 * cache(slots=2)
    assert cache() == 2 * cache(kv_type="f16")
    assert cache(kv_type="q4_0") < cache(kv_type="q8_0") < cache(kv_type="f16")


def test_cores_are_apart_for_llama_cpp_on_a_cpu_when_they_shall_be(monkeypatch):
    found = Shares(frozenset({1}), frozenset({0}))
    monkeypatch.setattr(wiring, "shares", lambda threads: found if threads == 1 else None)

    def apart(**flags) -> Shares | None:
        return wiring.cores_apart(load(flags={"threads": 1, "cores": "apart", **flags}, env={}))

    assert apart() == found
    assert apart(threads=2) is None
    assert apart(cores="shared") is None
    assert apart(engine="torch") is None
    assert apart(device="cuda") is None


def test_only_llama_cpp_has_a_file_to_compute_from(tmp_path, folder, release):
    settings = load(flags={"home": tmp_path, "engine": "fake"}, env={})
    assert wiring.memory_budget(settings, folder, release) is None
    with pytest.raises(ShelfError, match="no q8_0"):
        wiring.memory_budget(load(flags={"home": tmp_path, "weights": "q8_0"}, env={}), folder, release)


def test_a_gpu_that_is_absent_is_found_before_the_memory_is_counted(tmp_path, folder, release):
    import xllamacpp

    if any(int(d["type"]) in (1, 2) for d in xllamacpp.get_device_info()):
        pytest.skip("there is a GPU here")
    with pytest.raises(DeviceError):
        wiring.memory_budget(load(flags={"home": tmp_path, "device": "cuda"}, env={}), folder, release)
