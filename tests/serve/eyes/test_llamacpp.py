"""The far eye before a real llama.cpp with the eye that ships: it sees what the torch eye sees, and a server that does not look is never believed."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from sekisho.core.errors import EngineError
from sekisho.core.prompt import EYE_CHAT_TEMPLATE
from sekisho.data.pixels import AREA
from sekisho.loop.eye_files import export_eye
from sekisho.serve.eyes.remote import RemoteEye
from sekisho.serve.eyes.torch import TorchEye
from sekisho.weights.decision import DecisionMeta
from sekisho.weights.gguf import export_gguf
from small_eye import PACK, picture_file

from ..far import llama_process

ROOT = Path(__file__).parents[3]
EYE = ROOT / "models" / "nano_vl"
QUESTIONS = {c.id: c.question.en for c in PACK.criteria}
CONTEXT = 4096


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return export_eye(EYE, tmp_path_factory.mktemp("eye"), "f32")


@pytest.fixture(scope="module")
def chatting(tmp_path_factory) -> Path:
    """The eye without decision metadata, as any vision model that only chats."""
    return export_gguf(EYE, tmp_path_factory.mktemp("chat") / "eye.gguf", "f32", template=EYE_CHAT_TEMPLATE)


def looked(url, images, questions=QUESTIONS, between=lambda: None, pixels=0):
    """What each look gave, or its error."""

    async def work():
        eye, found = RemoteEye(url, pixels=pixels), []
        await eye.start()
        try:
            for image in images:
                try:
                    found.append(await eye.look(image, questions, 120.0))
                except EngineError as e:
                    found.append(e)
                between()
        finally:
            await eye.stop()
        return found

    return asyncio.run(work())


def torch_eye(images, epsilon=None):
    """What the eye says in torch, perhaps with another epsilon in the norms of its language part."""
    eye = TorchEye("nano_vl", EYE, threads=1)
    eye._load()
    for module in eye._model.model.language_model.modules():
        if epsilon is not None and hasattr(module, "variance_epsilon"):
            module.variance_epsilon = epsilon
    return [eye.look_now(image, QUESTIONS).log_odds for image in images]


def furthest(some, others):
    return max(abs(a.log_odds[i] - b[i]) for a, b in zip(some, others, strict=True) for i in QUESTIONS)


def test_llama_cpp_gives_the_probabilities_of_the_torch_eye(files):
    """All 60 criteria of four pictures of several sizes, in System One. What is left is llama.cpp's table of GELU in half precision."""
    images = [picture_file(0), picture_file(1), picture_file(2, (620, 877)), picture_file(3, (90, 300))]
    with llama_process(Path(files.language), CONTEXT, vision=Path(files.vision)) as (url, _):
        found = looked(url, images, pixels=AREA)
    # The llama.cpp that is pinned reads no epsilon for the norms of qwen2vl and takes 0; newer ones take the model's.
    plain = furthest(found, torch_eye(images))
    assert min(plain, furthest(found, torch_eye(images, 0.0))) < 0.02
    assert plain < 0.5
    assert furthest(found[:1], [found[1].log_odds]) > 0.1  # another picture, other answers


def test_every_criterion_is_answered_by_schema(files, chatting):
    with llama_process(chatting, CONTEXT, vision=Path(files.vision)) as (url, process):
        found = looked(url, [picture_file(0), picture_file(0)], between=process.kill)
    whole, gone = found
    assert list(whole.log_odds) == list(QUESTIONS)
    assert all(abs(odds) == pytest.approx(math.log(2)) for odds in whole.log_odds.values())
    assert isinstance(gone, EngineError)
    assert "connection broke" in str(gone)


@pytest.mark.parametrize("decides", [True, False])
def test_a_llama_cpp_without_eyes_is_never_believed(tmp_path, decides, chatting):
    """A language model that speaks System One answers about an image it was never given; so does an eye without its second file."""
    meta = DecisionMeta()
    blind = export_gguf(ROOT / "models" / "nano", tmp_path / "b.gguf", "f16", meta) if decides else chatting
    with llama_process(blind, CONTEXT) as (url, _):
        found = looked(url, [picture_file(0)] * 2)
    assert all(isinstance(f, EngineError) and "mmproj" in str(f) for f in found)


def test_an_eye_that_speaks_system_one_without_its_second_file_is_not_believed_either(files):
    with llama_process(Path(files.language), CONTEXT) as (url, _):
        (found,) = looked(url, [picture_file(0)])
    assert isinstance(found, EngineError)
    assert "mmproj" in str(found)
