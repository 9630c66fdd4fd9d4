from __future__ import annotations

import asyncio
import random

import pytest

from sekisho.core.engine import Sampling
from sekisho.core.errors import EngineError
from sekisho.serve.engines.caches import SLICE, Caches
from sekisho.serve.engines.stretches import LENGTH, seed_at, stretches
from sekisho.serve.vocabulary import Vocabulary

BYTES = Vocabulary([bytes([i]) for i in range(256)])
PROMPT = [1, 2, 3]
END = 0


def model(ids: list[int], seed: int) -> int:
    """A token that depends on everything before it and on the seed: mostly letters, at times a byte of 関 or of nothing."""
    rng = random.Random(f"{seed}:{ids}")
    if len(ids) > 3 and ids[-1] == 0xE9:
        return 0x96
    if len(ids) > 3 and ids[-2:] == [0xE9, 0x96]:
        return 0xA2
    return rng.choice([*b"abc xyz", 0xE9, 0xE9, 0xFF])


class Source:
    """Events as llama.cpp sends them: a character once, with its last token; bytes that are none as U+FFFD."""

    def __init__(self, end_at: int = 10_000) -> None:
        self.end_at, self.asked = end_at, []

    async def __call__(self, ids, count, seed):
        self.asked.append((len(ids), count, seed))
        ids, data, predicted = list(ids), b"", 0
        while predicted < count:
            if len(ids) - len(PROMPT) >= self.end_at:
                yield {"stop": True, "stop_type": "eos", "content": "", "tokens_predicted": predicted + 1}
                return
            token = model(ids, seed)
            ids.append(token)
            predicted, data = predicted + 1, data + bytes([token])
            if token in (0xE9, 0x96):
                continue
            text = data.decode("utf-8", "replace")
            yield {"stop": False, "content": text, "tokens": [token], "tokens_predicted": predicted}
            data = b""
        yield {"stop": True, "stop_type": "limit", "content": "", "tokens_predicted": predicted}


async def tokens_of(text):
    return list(text.encode())


def write(source, sampling, written=(), limit=300, most=None):
    async def main():
        pieces = []
        async for piece in stretches(source, tokens_of, BYTES, PROMPT, sampling, limit, written):
            pieces.append(piece)
            if len(pieces) == most:
                break
        return pieces

    return asyncio.run(main())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("stop", [(), ("zz",), ("関a",)])
def test_a_text_taken_up_at_any_piece_is_the_same(seed, stop):
    sampling = Sampling(seed=seed, stop=stop)
    whole = write(Source(), sampling)
    text = "".join(p.text for p in whole)
    assert whole[-1].finish in ("stop", "length")
    assert all(p.finish is None and p.tokens for p in whole[:-1])
    assert all(len(p.tokens) >= LENGTH - 8 for p in whole[:-1])
    for most in range(1, len(whole)):
        first = write(Source(), sampling, most=most)
        rest = write(Source(), sampling, [t for p in first for t in p.tokens])
        assert "".join(p.text for p in [*first, *rest]) == text
        assert rest[-1] == whole[-1]


def test_the_first_stretch_has_the_callers_seed_and_others_their_own():
    source = Source()
    write(source, Sampling(seed=5))
    seeds = [seed for _, _, seed in source.asked]
    assert seeds[0] == 5
    assert len(set(seeds)) == len(seeds) > 3
    assert seeds[1:] == [seed_at(5, place - len(PROMPT)) for place, _, _ in source.asked[1:]]
    random_ = [write(Source(), Sampling()) for _ in range(2)]
    assert random_[0] != random_[1]


def test_limit_end_and_counts():
    last = write(Source(), Sampling(seed=1), limit=100)[-1]
    assert (last.finish, last.output_tokens, last.input_tokens) == ("length", 100, 3)
    last = write(Source(end_at=70), Sampling(seed=1))[-1]
    assert last.finish == "stop"
    written = write(Source(), Sampling(seed=1), most=1)[0].tokens
    assert write(Source(), Sampling(seed=1), written, limit=len(written))[-1].finish == "length"


def test_an_engine_that_says_nothing_is_an_error():
    async def nothing(ids, count, seed):
        yield {"stop": True, "stop_type": "limit", "content": "", "tokens_predicted": 0}

    with pytest.raises(EngineError):
        write(nothing, Sampling())


def ends(caches: Caches, slot: int, ids: list[int]) -> list[int]:
    return [len(part) for part in caches.slices(slot, ids)]


def test_a_prompt_is_read_in_slices_and_a_cache_is_never_cut():
    caches, ids = Caches(), list(range(200))
    assert ends(caches, 0, ids) == [SLICE, 2 * SLICE, 3 * SLICE]
    caches.note(0, ids[:100])
    caches.grow(0, ids[100:120])
    assert ends(caches, 0, ids) == [120 + SLICE]
    caches.note(0, [9, 9])
    assert ends(caches, 0, ids) == [SLICE, 2 * SLICE, 3 * SLICE]
    caches.note(1, ids)
    assert ends(caches, 1, ids) == []
    caches.note(None, [])
    assert len(ends(caches, 1, ids)) == 3


def test_slices_follow_the_engines_speed():
    ids, slow, fast = list(range(2000)), Caches(), Caches()
    for _ in range(20):
        slow.took(1.0)
        fast.took(0.0001)
    assert ends(slow, 0, ids)[0] == 32
    assert ends(fast, 0, ids)[0] == 512
    steady = Caches()
    for _ in range(20):  # 5,000 tokens a second
        steady.took(ends(steady, 0, ids)[0] / 5000)
    assert 90 <= ends(steady, 0, ids)[0] <= 101
