"""Recipes: every knob of a run, frozen and written beside it. Unknown or impossible keys are all named at once."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic.config import JsonDict

from ..core.canonical import digest_json
from ..core.errors import RecipeError
from ..core.question import Example, Frozen

BaseType = Literal["float32", "bfloat16", "int8", "nf4"]
NEWER: JsonDict = {"newer": True}
"""Marks a knob that the first recipes did not have."""


class Architecture(Frozen):
    """Shape of a Phi-3 model trained from nothing."""

    vocab_size: int = Field(8192, ge=512)
    hidden_size: int = Field(256, ge=32, multiple_of=8)
    intermediate_size: int = Field(768, ge=32)
    num_hidden_layers: int = Field(6, ge=1)
    num_attention_heads: int = Field(8, ge=1)
    num_key_value_heads: int = Field(4, ge=1)
    max_position_embeddings: int = Field(2048, ge=128)


class Course(Frozen):
    """Training of all weights on decisions.

    Attributes:
        dropout: in the model, during this stage.
        bpe_dropout: share of merges left out when a row is cut to tokens. The tokenizer library draws them from a generator that
            cannot be seeded: with it, a second run gives other weights of the same quality; at 0 it gives the same bits.
    """

    epochs: float = Field(1.0, ge=0)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(5.0e-4, gt=0)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    bpe_dropout: float = Field(0.1, ge=0, lt=1)


class Decisions(Course):
    """Second stage of a base: all weights learn to decide. No epochs, no such stage.

    Attributes:
        rounds: how often the whole course is run, each time from where the last one ended, the rate warming up again
            (Loshchilov and Hutter 2017).
        sources: how often rows of a gate source are seen in a pass; none of a source that is not named.
        variants: whether the wrapped variants of the authored requests are seen too.
        own_cap: most wordings of own requests in a language and of a decision; None: as many as the adapter sees.
    """

    epochs: float = Field(0.0, ge=0)
    rounds: int = Field(1, ge=1)
    sources: Mapping[str, Annotated[float, Field(ge=0)]] = Field({"authored": 1.0}, json_schema_extra=NEWER)
    variants: bool = Field(True, json_schema_extra=NEWER)
    own_cap: int | None = Field(None, ge=1, json_schema_extra=NEWER)

    def repeats(self, example: Example) -> int:
        """How often a row is seen in a pass."""
        if example.meta.get("pair") and example.meta.get("variant") and not self.variants:
            return 0
        return _times(self.sources.get(str(example.meta.get("source")), 0.0), example)


class Teaching(Course):
    """Third stage of a base: all weights learn what linear teachers make of requests and of pieces of them. No rows, no such stage.

    Attributes:
        rows: how many rows are made; an epoch is one pass over them.
        pieces: share of them that are pieces of requests, which only the teacher labels.
        trust: weight of the teacher beside the label, on whole requests.
        folds: teachers; each one judges the topics that it has not seen.
    """

    rows: int = Field(0, ge=0)
    pieces: float = Field(0.5, ge=0, le=1)
    trust: float = Field(0.4, ge=0, le=1)
    folds: int = Field(5, ge=2)


class Pretrain(Frozen):
    """Recipe of a base model.

    Attributes:
        epochs: passes over the packed corpus.
        batch: sequences of `sequence` tokens per optimiser step.
        learning_rate: peak; linear warm-up over `warmup` of the steps, then a cosine that would reach zero at the last.
        cooldown_start, cooldown: from this share of the steps on the rate falls in a straight line to zero over `cooldown` of the
            steps, and training ends there; a start of 1 keeps the cosine to its end.
        mix: how often documents of a source are repeated; 1 where not named.
        start: a base under `share`, or a path, from whose weights the second stage begins; the first is left out then.
        blend: share of what was learnt in the weights that are stored; the rest is those of `start` (Wortsman et al. 2022, WiSE-FT), without which there is none. It keeps more of what the start knew
            than the last step does.
    """

    name: str
    kind: Literal["pretrain"] = "pretrain"
    start: str = Field("", json_schema_extra=NEWER)
    blend: float = Field(1.0, gt=0, le=1, json_schema_extra=NEWER)
    seed: int = 20261121
    architecture: Architecture = Architecture()
    sequence: int = Field(256, ge=32)
    epochs: float = Field(3.0, gt=0)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(1.5e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    warmup: float = Field(0.03, ge=0, le=1)
    cooldown_start: float = Field(1.0, gt=0, le=1)
    cooldown: float = Field(0.1, gt=0, le=1)
    bf16: bool = True
    threads: int = Field(2, ge=1)
    checkpoint_seconds: float = Field(180, gt=0)
    keep: int = Field(5, ge=1)
    mix: Mapping[str, int] = Field(default_factory=dict)
    decisions: Decisions = Decisions()
    teaching: Teaching = Teaching()


class PetSteps(Frozen):
    """PET by optimiser steps: λ rises from 0 to `maximum` over `warmup` steps, stays for `main`, falls to 0 over `anneal`."""

    maximum: float = Field(0.1, ge=0)
    warmup: int = Field(100, ge=0)
    main: int = Field(1000, ge=0)
    anneal: int = Field(200, ge=0)


class Pet(Frozen):
    """PET: squared second difference of hidden states along the sequence, in three phases of progress.

    Attributes:
        weights: λ of each phase (warm-up, main, anneal).
        starts: progress (0 to 1, in optimiser steps) at which each phase begins.
        huber: width of the quadratic part; 0 means plain squares.
        steps: the other schedule, by steps; `weights` and `starts` then say nothing.
        layers: whose outputs are smoothed, from 0, or from the end as -1; the last one's when empty.
    """

    weights: tuple[float, float, float] = (0.01, 0.05, 0.1)
    starts: tuple[float, float, float] = (0.0, 0.2, 0.6)
    huber: float = Field(0.0, ge=0)
    steps: PetSteps | None = Field(None, json_schema_extra=NEWER)
    layers: tuple[int, ...] = Field((), json_schema_extra=NEWER)


class Watch(Frozen):
    """Early stop on refuse recall, measured on training rows that are set aside for it, whole topics at a time. 0 steps, no watch.

    Attributes:
        every: optimiser steps between two measurements.
        share: of the topics set aside.
        drop: how far below the best one seen refuse recall may fall.
        patience: measurements in a row below that after which training stops; it then goes back to the best weights.
    """

    every: int = Field(0, ge=0)
    share: float = Field(0.03, gt=0, lt=1)
    drop: float = Field(0.02, ge=0)
    patience: int = Field(3, ge=1)


class Lora(Frozen):
    """LoRA: rank, scale numerator and dropout; `targets` are names of linear modules."""

    r: int = Field(32, ge=1)
    alpha: float = Field(64.0, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)
    targets: tuple[str, ...] = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


class Ngrams(Frozen):
    """A second reader of the gate's requests beside the model: a linear one over n-grams of characters and words.

    Attributes:
        share: its part of the pooled log-probabilities; 0 is no such reader.
        decay: weight of half the squared norm of its weights beside the summed loss.
    """

    share: float = Field(0.0, ge=0, lt=1)
    decay: float = Field(0.1, gt=0)


class Finetune(Frozen):
    """Recipe of an adapter.

    Attributes:
        gates: whether SO(8) rotation gates are trained beside LoRA.
        triality: whether three neighbouring blocks are three views of one generator: a third of the gates' parameters.
        shared_gates: whether all layers have one set of generators.
        grouped_gates: whether gates rotate the fast way: the same rotations, other bits in the last place.
        gate_learning_rate: peak for the gates' generators, which live on another scale than LoRA's matrices.
        label_smoothing: mass spread over the options.
        mix: how often rows of a source are seen in an epoch; 1 where not named. Of 1.5, half of the rows are seen twice, chosen by their ids.
        correction_weight: how often a corrected judgement is repeated in an epoch.
        batch: rows of an optimiser step, over all processes and parts.
        accumulation: parts a batch is computed in, one after the other.
        steps: optimiser steps in all; 0 leaves it to `epochs`.
        base_type: how the frozen base is held: float32, bfloat16, or by bitsandbytes as int8 or nf4 (QLoRA, Dettmers et al. 2023).
        optimizer: adamw, or paged_adamw_8bit, which needs a CUDA GPU.
        shard_base: whether each of several processes holds a share of the frozen base alone (FSDP2); not of int8 or nf4. Alone, a process holds all.
        checkpointing: whether activations are computed again on the way back instead of being kept.
        mixed_batches: whether batches, each of rows near in length, are seen in any order. Otherwise fifty at a time are sorted, longest first.
        gradient_noise: standard deviation added to every gradient after clipping, from a generator of the seed and the step; divided by
            (1 + step)^`noise_decay` (Neelakantan et al. 2015 take 0.55 for the variance, so half of it here).
        swa_start: progress from which the mean of the weights is taken (Izmailov et al. 2018); 1 is never.
        decision_weight: of the decision loss, so that safety is in the loss whatever else is.
        language_weight: of the next-token loss over the prompt; 0 leaves it out.
    """

    name: str
    kind: Literal["finetune"] = "finetune"
    seed: int = 20261121
    epochs: float = Field(4.0, gt=0)
    batch: int = Field(32, ge=1)
    max_tokens: int = Field(192, ge=32)
    learning_rate: float = Field(1.0e-3, gt=0)
    gate_learning_rate: float = Field(3.0e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, le=1)
    clip: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    gates: bool = True
    triality: bool = Field(False, json_schema_extra=NEWER)
    shared_gates: bool = Field(False, json_schema_extra=NEWER)
    grouped_gates: bool = Field(False, json_schema_extra=NEWER)
    accumulation: int = Field(1, ge=1, json_schema_extra=NEWER)
    steps: int = Field(0, ge=0, json_schema_extra=NEWER)
    base_type: BaseType = Field("float32", json_schema_extra=NEWER)
    optimizer: Literal["adamw", "paged_adamw_8bit"] = Field("adamw", json_schema_extra=NEWER)
    checkpointing: bool = Field(False, json_schema_extra=NEWER)
    shard_base: bool = Field(False, json_schema_extra=NEWER)
    mixed_batches: bool = Field(False, json_schema_extra=NEWER)
    gradient_noise: float = Field(0.0, ge=0, json_schema_extra=NEWER)
    noise_decay: float = Field(0.0, ge=0, json_schema_extra=NEWER)
    swa_start: float = Field(1.0, ge=0, le=1, json_schema_extra=NEWER)
    decision_weight: float = Field(1.0, gt=0, json_schema_extra=NEWER)
    language_weight: float = Field(0.0, ge=0, json_schema_extra=NEWER)
    watch: Watch = Field(Watch(), json_schema_extra=NEWER)
    ngrams: Ngrams = Field(Ngrams(), json_schema_extra=NEWER)
    lora: Lora = Lora()
    pet: Pet = Pet()
    bf16: bool = True
    threads: int = Field(2, ge=1)
    checkpoint_seconds: float = Field(180, gt=0)
    keep: int = Field(5, ge=1)
    mix: Mapping[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    correction_weight: int = Field(4, ge=1)

    def repeats(self, example: Example) -> int:
        """How often a row is seen in an epoch."""
        if "correction" in example.meta:
            return self.correction_weight
        return _times(self.mix.get(str(example.meta.get("source")), 1.0), example)


def _times(wanted: float, example: Example) -> int:
    """A number of times, a part of one drawn by the row's id."""
    whole, rest = divmod(wanted, 1.0)
    drawn = int(digest_json(example.id)[7:15], 16) / 16**8
    return int(whole) + (drawn < rest)


R = TypeVar("R", bound=Frozen)


def find_recipe(name: str, share: Path) -> Path:
    """Return the file of a recipe given by path or by name under `share`/recipes."""
    for path in (Path(name), share / "recipes" / f"{name}.toml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(p.stem for p in (share / "recipes").glob("*.toml")))
    raise RecipeError(f"There is no recipe {name!r}.", f"Give a path, or one of: {known}.")


def read_recipe(path: Path, kind: type[R]) -> R:
    """Read a recipe file.

    Raises:
        RecipeError: naming every unknown or impossible key.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8"), parse_float=_finite))
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors())
        raise RecipeError(
            f"{path} has wrong keys: {wrong}.", f"Valid keys: {', '.join(kind.model_fields)}."
        ) from e
    except (OSError, ValueError) as e:
        raise RecipeError(f"{path} cannot be read: {e}.", "Mend the file; it must be TOML in UTF-8.") from e


def _finite(written: str) -> float:
    """A number of a recipe: TOML knows inf and nan as well, which no setting is."""
    value = float(written)
    if not math.isfinite(value):
        raise ValueError(f"{written} is no number for a setting")
    return value


def recipe_digest(recipe: Frozen) -> str:
    """Digest of a recipe's canonical JSON. Knobs newer than the first version count only when turned: an old recipe keeps its digest."""
    return digest_json(turned(recipe))


def turned(part: Frozen, leave: Collection[str] = ()) -> dict[str, Any]:
    """A recipe, or a part of one, as JSON without newer knobs that stand where they stood before there were any, and without the knobs to `leave` out."""
    whole = part.model_dump(mode="json", exclude=set(leave))
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if name in leave:
            continue
        if field.json_schema_extra == NEWER and value == field.get_default():
            del whole[name]
        elif isinstance(value, Frozen):
            whole[name] = turned(value)
    return whole
