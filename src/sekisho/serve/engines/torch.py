"""The torch engine: a Hugging Face folder, or a model object with its adapter and gates still on it, computing in one thread.

It answers as the llama.cpp engine does, in float32, and is what a candidate is judged with before it is exported.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...core.canonical import digest_file, digest_json
from ...core.engine import EngineInfo, Message, Piece, Sampling
from ...core.errors import DeviceError, EngineError, SekishoError
from ...core.prompt import ASSISTANT, CLOSE, END, LETTERS, SPECIAL, SYSTEM, USER
from ...core.question import OptionScores, Question
from .. import prompts
from ..deadline import by, deadline_in
from ..loads import loading
from ..scoring import log_softmax
from ..streaming import StopCutter, TextStream
from .continuation import continuation

if TYPE_CHECKING:
    from tokenizers import Tokenizer

T = TypeVar("T")

_SHORT = 30.0
"""Seconds for calls that carry no deadline of their own."""


class TorchEngine:
    """Serves one causal language model. Fulfils `core.engine.Engine`; see there for what each method promises.

    Args:
        name: the name clients use.
        folder: model folder with config, safetensors and tokenizer.json; nothing is ever looked for elsewhere.
        model: a loaded model in float32 instead, perhaps with an adapter and gates; needs `tokenizer` and `model_digest`.
        tokenizer: its tokenizer.
        model_digest: digest of what is served; that of the folder's weights when None.
        context: tokens one request may use.
        device: cpu or cuda; cuda that is absent ends the start.
        threads: threads of torch, for the whole process; unchanged when None.
        batch_tokens: most tokens, padding included, of one forward pass.
    """

    def __init__(
        self,
        name: str,
        folder: Path | None = None,
        *,
        model: Any = None,
        tokenizer: Tokenizer | None = None,
        model_digest: str | None = None,
        context: int = 2048,
        device: str = "cpu",
        threads: int | None = None,
        batch_tokens: int = 16_384,
    ) -> None:
        if folder is None and (model is None or tokenizer is None or model_digest is None):
            raise ValueError("give a folder, or a model with its tokenizer and digest")
        self._name, self._folder, self._digest = name, folder, model_digest
        self._model, self._given_tokenizer = model, tokenizer
        self._context, self._device, self._threads = context, device, threads
        self._batch_tokens = batch_tokens
        self._tokenizer: Any = None
        self._special: dict[str, int] = {}
        self._labels: list[int] = []
        self._worker: ThreadPoolExecutor | None = None

    @property
    def info(self) -> EngineInfo:
        """What is being served. Raises EngineError before the first start when no digest was given."""
        if self._digest is None:
            raise EngineError("The engine has not been started.", "Call start first.")
        return EngineInfo(
            engine="torch",
            model=self._name,
            model_digest=self._digest,
            context=self._context,
            device=self._device,
        )

    async def start(self) -> None:
        """Load the model in the worker thread and answer one question to warm up.

        Raises:
            DeviceError: when cuda was asked for and is absent.
            EngineError: when the folder cannot be loaded.
        """
        if self._worker is not None:
            return
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="torch-engine")
        try:
            with loading("start"):
                await self._compute(self._load)
            await self.ask("", [prompts.SMALLEST], _SHORT)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Let go of the worker, and of the model if it was loaded here; waiting requests fail with EngineError."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.shutdown(wait=False, cancel_futures=True)
        if self._folder is not None:
            self._model = None

    async def healthy(self) -> bool:
        """Whether the model is loaded."""
        return self._worker is not None and bool(self._labels)

    async def ask(
        self, state: str, questions: Sequence[Question], timeout: float, slot: int | None = None
    ) -> list[OptionScores]:
        """Score the questions in batches, padded on the left."""
        return await by(deadline_in(timeout), self._compute(lambda: self._ask(state, questions)))

    async def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        timeout: float,
        slot: int | None = None,
        written: Sequence[int] | None = None,
    ) -> AsyncIterator[Piece]:
        """Stream an answer; each token is one turn of the worker, so that questions get in between."""
        prompts.require_sampling(sampling)
        prompts.require_no_tools(messages, sampling, "torch")
        prompts.require_plain(sampling, "torch")
        deadline = deadline_in(timeout)
        prompt = await by(deadline, self._compute(lambda: self._chat_prompt(messages)))
        turns = [self._special[t] for t in (SYSTEM, USER, ASSISTANT)]
        before = list(written or ())
        step = continuation(self._model, self._device, prompt, sampling, turns, before)
        stream, cutter = (
            TextStream(lambda ids: str(self._tokenizer.decode(list(ids)))),
            StopCutter(sampling.stop),
        )
        for token in before:
            cutter.push(stream.push(token))
        limit = min(sampling.max_tokens, self._context - len(prompt))
        for count in range(len(before) + 1, limit + 1):
            token = await by(deadline, self._compute(lambda: next(step)))
            ended = token in (self._special[CLOSE], self._special[END])
            text = "" if ended else cutter.push(stream.push(token))
            if ended or cutter.stopped or count == limit:
                yield Piece(
                    text=text + cutter.flush(),
                    finish="stop" if ended or cutter.stopped else "length",
                    input_tokens=len(prompt),
                    output_tokens=count,
                )
                return
            if text or written is not None:
                yield Piece(text=text, tokens=() if written is None else (token,))

    async def count(self, text: str) -> int:
        """Number of tokens of `text`, special tokens in it read as plain characters."""
        pieces = prompts.plain_pieces(text)
        return len(await by(deadline_in(_SHORT), self._compute(lambda: self._tokenize(pieces))))

    async def _compute(self, work: Callable[[], T]) -> T:
        """Run `work` in the worker thread; whatever goes wrong there becomes EngineError."""
        if self._worker is None:
            raise EngineError("The engine is not running.", "Start it first.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise EngineError("The engine was stopped.", "Try again in a moment.") from None
        except SekishoError:
            raise
        except Exception as e:
            raise EngineError(f"The model failed: {type(e).__name__}: {e}", "Check model and memory.") from e

    def _load(self) -> None:
        import torch
        from tokenizers import Tokenizer

        if self._device == "cuda" and not torch.cuda.is_available():
            raise DeviceError("device cuda was asked for, and torch sees no GPU.", "Set device to cpu.")
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        if self._folder is not None:
            self._digest = self._digest or _weights_digest(self._folder)
            self._model = _load_model(self._folder)
        self._model = self._model.to(self._device).eval()
        given = self._given_tokenizer or Tokenizer.from_file(str(self._folder / "tokenizer.json"))  # type: ignore[operator]
        self._tokenizer = Tokenizer.from_str(given.to_str())
        self._tokenizer.encode_special_tokens = (
            True  # text never becomes a special token, whatever its spelling
        )
        self._special = {text: self._special_id(text) for text in SPECIAL}
        self._labels = self._label_ids()

    def _special_id(self, text: str) -> int:
        found = self._tokenizer.token_to_id(text)
        if found is None:
            raise EngineError(
                f"{self._name} has no token {text}.",
                "Serve a model with the chat tokens of Phi-3 here, and any other with llama.cpp or Ollama, by `engine` remote.",
            )
        return int(found)

    def _label_ids(self) -> list[int]:
        """Token ids of the option labels, up to the first that is not a single token."""
        found: list[int] = []
        for letter in LETTERS:
            ids = self._tokenize([letter])
            if len(ids) != 1 or ids[0] in found:
                break
            found += ids
        return found

    def _tokenize(self, pieces: Sequence[prompts.Piece]) -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            ids += (
                [piece]
                if isinstance(piece, int)
                else self._tokenizer.encode(piece, add_special_tokens=False).ids
            )
        return ids

    def _chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        prompt = self._tokenize(prompts.chat_pieces(messages, self._special))
        prompts.require_fit(len(prompt), self._context)
        return prompt

    def _ask(self, state: str, questions: Sequence[Question]) -> list[OptionScores]:
        asked: list[tuple[list[int], int]] = []
        for question in questions:
            prompts.require_labels(len(self._labels), question)
            ids = self._tokenize(prompts.decision_pieces(state, question, self._special))
            prompts.require_fit(len(ids), self._context)
            asked.append((ids, len(question.options)))
        return [scores for batch in self._batches(asked) for scores in self._score(batch)]

    def _batches(self, asked: Sequence[tuple[list[int], int]]) -> Iterator[list[tuple[list[int], int]]]:
        """Cut into runs whose padded size stays within `batch_tokens`, in order."""
        batch: list[tuple[list[int], int]] = []
        for item in asked:
            width = max(len(ids) for ids, _ in [*batch, item])
            if batch and width * (len(batch) + 1) > self._batch_tokens:
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch

    def _score(self, batch: Sequence[tuple[list[int], int]]) -> list[OptionScores]:
        """One forward pass. Logits `[batch, vocabulary]` after the last token; the softmax is over the labels alone."""
        import torch

        width = max(len(ids) for ids, _ in batch)
        pad = self._special[END]
        rows = torch.tensor([[pad] * (width - len(ids)) + ids for ids, _ in batch], device=self._device)
        mask = torch.tensor(
            [[0] * (width - len(ids)) + [1] * len(ids) for ids, _ in batch], device=self._device
        )
        with torch.no_grad():
            logits = self._model(
                input_ids=rows,
                attention_mask=mask,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
                logits_to_keep=1,
                use_cache=False,
            ).logits[:, -1]
        chosen = logits[:, self._labels].double().tolist()
        return [
            OptionScores(logprobs=log_softmax(row[:count]), input_tokens=len(ids))
            for row, (ids, count) in zip(chosen, batch, strict=True)
        ]


def _load_model(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, trust_remote_code=False
        )
    except (OSError, ValueError) as e:
        raise EngineError(f"{folder} cannot be loaded: {e}", "Check the model folder.") from e


def _weights_digest(folder: Path) -> str:
    """Digest over the names and digests of all weight files. Raises EngineError when there is none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise EngineError(f"{folder} holds no safetensors file.", "Check the model folder.")
    return digest_json({f.name: digest_file(f) for f in files})
