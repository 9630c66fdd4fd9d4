from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sekisho.cli.main import run
from sekisho.core.errors import DataError, ProofError
from sekisho.loop.calibrate import calibrate_file

LENET = Path(__file__).parents[1] / "proof" / "fixtures" / "lenet-5-cifar-10.npz"


def test_the_command_writes_what_the_reference_says(capfdbinary):
    assert run(["calibrate", "--probs", str(LENET), "--json"]) == 0
    found = json.loads(capfdbinary.readouterr().out)
    want = json.loads((LENET.parent / "reference.json").read_text(encoding="utf-8"))["sets"][LENET.name]
    assert found["temperature"] == pytest.approx(want["temperature_fit_first_5000"], abs=1e-4)
    assert found["all"]["ece15"] == pytest.approx(want["ECE15"], abs=1e-4)
    assert run(["calibrate", "--probs", str(LENET)]) == 0
    assert b"temperature" in capfdbinary.readouterr().out


def test_logits_and_their_probabilities_agree(tmp_path):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(200, 4)), rng.integers(0, 4, 200)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.savez(tmp_path / "z.npz", logits=z, ground_truth=y)
    np.savez(tmp_path / "p.npz", predictions=p, ground_truth=y)
    one, two = (calibrate_file(tmp_path / n) for n in ("z.npz", "p.npz"))
    assert one["temperature"] == pytest.approx(two["temperature"], rel=1e-6)
    assert one["all"]["nll"] == pytest.approx(two["all"]["nll"])


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"logits": [[0.0, 1.0]]},
        {"ground_truth": [0]},
        {"logits": [[0.0]], "predictions": [[1.0]], "ground_truth": [0]},
    ],
)
def test_an_archive_without_the_arrays_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "x.npz", **{k: np.asarray(v) for k, v in arrays.items()})
    with pytest.raises(DataError, match="ground_truth"):
        calibrate_file(tmp_path / "x.npz")


def test_no_archive_a_pickle_and_a_torn_one_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "pickle.npz", logits=np.asarray([{}], dtype=object), ground_truth=[0])
    (tmp_path / "torn.npz").write_bytes(LENET.read_bytes()[:5000])
    for name in ("text.npz", "pickle.npz", "torn.npz", "absent.npz"):
        with pytest.raises(DataError):
            calibrate_file(tmp_path / name)
    assert run(["calibrate", "--probs", str(tmp_path / "absent.npz")]) == 2


@pytest.mark.parametrize("dtype", ["complex128", "datetime64[s]", "U3"])
def test_what_is_no_real_number_is_refused(tmp_path, dtype):
    np.savez(tmp_path / "x.npz", logits=np.zeros((4, 3)).astype(dtype), ground_truth=[0, 1, 2, 0])
    with pytest.raises(DataError, match="no real numbers"):
        calibrate_file(tmp_path / "x.npz")


def test_an_array_that_lies_about_its_shape_is_refused(tmp_path):
    whole = io.BytesIO()
    np.save(whole, np.zeros((4, 3)))
    lie = whole.getvalue().replace(b"(4, 3), }" + b" " * 12, b"(9999999999999, 3), }")
    assert len(lie) == len(whole.getvalue())
    assert lie != whole.getvalue()
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("logits.npy", lie)
        archive.writestr("ground_truth.npy", whole.getvalue())
    with pytest.raises(DataError, match="no readable"):
        calibrate_file(tmp_path / "x.npz")


def test_rows_to_measure_on_must_be_left():
    for rows in (0, 10_000, -1):
        with pytest.raises(ProofError):
            calibrate_file(LENET, rows)
