"""The eye of the house: a Qwen2-VL model in this process, all questions over one image prefix in one forward pass."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.canonical import digest_file
from ...core.engine import EngineInfo
from ...core.errors import EngineError, EngineTimeoutError, SekishoError, ShelfError
from ...core.sight import Seen
from ..deadline import by, deadline_in

if TYPE_CHECKING:
    from ...core.packing import Packed

_LOADING = 120.0
"""Seconds that loading may take; an image's own time begins after it."""


class TorchEye:
    """Serves one model folder. Fulfils `core.sight.Eye`.

    Args:
        name: what it is called in the ledger.
        folder: config, safetensors, tokenizer.json; nothing is looked for elsewhere.
        threads: threads of torch for the whole process; unchanged when None.
    """

    def __init__(self, name: str, folder: Path, threads: int | None = None) -> None:
        self._name, self._folder, self._threads = name, folder, threads
        self._digest: str | None = None
        self._model: Any = None
        self._tokenizer: Any = None
        self._packed: dict[tuple[str, ...], Packed] = {}
        self._worker: ThreadPoolExecutor | None = None

    @property
    def info(self) -> EngineInfo:
        """What is looking. Raises EngineError before the first start."""
        if self._digest is None:
            raise EngineError("The eye has not been started.", "Call start first.")
        return EngineInfo(
            engine="torch-eye", model=self._name, model_digest=self._digest, context=4096, device="cpu"
        )

    async def start(self) -> None:
        """Load the model in the worker thread.

        Raises:
            ShelfError: naming the file of the folder that is missing or broken.
            EngineTimeoutError: when it was not loaded in time.
        """
        if self._worker is not None:
            return
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="torch-eye")
        try:
            await by(deadline_in(_LOADING), self._compute(self._load))
        except EngineTimeoutError:
            await self.stop()
            raise EngineTimeoutError(
                f"The eye was not loaded in {_LOADING:g} s.", "Is the machine busy, or short of memory?"
            ) from None
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Let go of worker and model."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.shutdown(wait=False, cancel_futures=True)
        self._model = None

    async def look(self, image: bytes, questions: Mapping[str, str], timeout: float) -> Seen:
        """Answer all questions in one pass."""
        return await by(deadline_in(timeout), self._compute(lambda: self.look_now(image, questions)))

    async def _compute(self, work: Any) -> Any:
        if self._worker is None:
            raise EngineError("The eye is not running.", "Start it first.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except SekishoError:
            raise
        except Exception as e:
            raise EngineError(f"The eye failed: {type(e).__name__}: {e}", "Check model and memory.") from e

    def _load(self) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import Qwen2VLForConditionalGeneration

        if self._threads is not None:
            torch.set_num_threads(self._threads)
        from .prompt import form_of

        with self._part("tokenizer.json") as file:
            self._tokenizer = Tokenizer.from_file(str(file))
            if None in vars(form_of(self._tokenizer)).values():
                raise ValueError("it lacks the tokens of an eye")
        with self._part("config.json") as file:
            _require_shape(json.loads(file.read_bytes()))
        with self._part("model.safetensors") as file:
            self._digest = digest_file(file)
            model, told = Qwen2VLForConditionalGeneration.from_pretrained(
                self._folder,
                local_files_only=True,
                dtype=torch.float32,
                trust_remote_code=False,
                output_loading_info=True,
            )
            if told["missing_keys"]:  # they would be left at random values
                raise ValueError(f"it lacks {len(told['missing_keys'])} of the weights in config.json")
        self._model = model.eval()

    @contextmanager
    def _part(self, name: str) -> Iterator[Path]:
        """A file of the folder; what goes wrong with it is a ShelfError that names it."""
        file = self._folder / name
        if not file.is_file():
            raise ShelfError(f"{self._folder} holds no {name}.", "Check `eye_model`.")
        try:
            yield file
        except MemoryError:
            raise
        except Exception as e:
            raise ShelfError(f"{file} cannot be used: {e}.", "Check `eye_model`.") from e

    def look_now(self, image: bytes, questions: Mapping[str, str]) -> Seen:
        """Answer in the calling thread; the model must be loaded."""
        import torch
        from PIL import Image

        from ...data.pixels import patches, scaled
        from . import packed, prompt

        key = tuple(questions.values())
        if key not in self._packed:
            self._packed = {key: prompt.packed(self._tokenizer, key)}
        branches = self._packed[key]
        flat, (rows, columns) = patches(scaled(Image.open(io.BytesIO(image))))
        with torch.inference_mode():
            logits, seen = packed.answers(
                self._model,
                torch.from_numpy(flat),
                torch.tensor([[1, rows, columns]]),
                branches,
                prompt.form_of(self._tokenizer),
            )
        odds = (logits[0, :, 0] - logits[0, :, 1]).double().tolist()
        return Seen(
            log_odds=dict(zip(questions, odds, strict=True)),
            input_tokens=seen.shape[1] + 2 + len(branches.ids),
        )


def _require_shape(config: Any) -> None:
    """Raise ValueError for a configuration that leaves the shape out: the library would take that of a model of billions of weights."""
    told = config if isinstance(config, dict) else {}
    missing = [key for key in ("model_type", "text_config", "vision_config") if not told.get(key)]
    if missing or told["model_type"] != "qwen2_vl":
        raise ValueError("it does not describe a whole Qwen2-VL model")
