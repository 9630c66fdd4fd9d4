"""Sharing out: every block is done once, by whom changes no bit, and where torch's threads cannot be had a pool does it."""

from __future__ import annotations

import ctypes
import os
import threading

import numpy as np
import pytest
import torch
from llvmlite import ir

from sekisho.weights import compiled, team
from sekisho.weights.machine import DOUBLE, Writer, packed
from sekisho.weights.machine import compiled as code_of


@pytest.fixture(params=["torch's threads", "a pool"])
def three_threads(request, monkeypatch):
    """As if there were much to do and three processors."""
    if request.param == "a pool":
        monkeypatch.setattr(team, "_openmp", lambda: None)
    elif team._openmp() is None:
        pytest.skip("torch's threads cannot be reached here")
    before = torch.get_num_threads()
    monkeypatch.setattr(team, "_WORTH", 0)
    monkeypatch.setattr(team, "_WORTH_POOL", 0)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def everything(dtype=torch.float32, blocks=7):
    rng = torch.Generator().manual_seed(1)
    params = torch.randn(blocks, 28, generator=rng).to(dtype).requires_grad_()
    x, g = (torch.randn(19, blocks * 8, generator=rng).to(dtype) for _ in range(2))
    turned = compiled.Turned.apply(x.requires_grad_(), params)
    turned.backward(g)
    p, x, turned = params.detach(), x.detach(), turned.detach()
    r = compiled.exponential(p)
    apart = [r, compiled.rotate(x, r), *compiled.gradients(g, x, r), compiled.derivative(p, r + 1)]
    return [turned, params.grad, *apart]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_threads_changes_no_bit(dtype, three_threads):
    many = everything(dtype)
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(everything(dtype), many, strict=True))


def test_shares_are_whole_and_made_of_pairs():
    assert team._shares(7, 3) == [(0, 4), (4, 7)]
    assert team._shares(512, 2) == [(0, 256), (256, 512)]
    assert team._shares(1, 8) == [(0, 1)]
    assert team._shares(0, 2) == [(0, 0)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_makes_threads_of_its_own(three_threads):
    before = everything()
    child = os.fork()
    if not child:
        os._exit(0 if all(torch.equal(a, b) for a, b in zip(everything(), before, strict=True)) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_that_call_at_the_same_time_do_not_meet(three_threads):
    wanted, found = everything(), []
    several = [threading.Thread(target=lambda: found.append(everything())) for _ in range(4)]
    for one in several:
        one.start()
    for one in several:
        one.join()
    assert len(found) == 4
    assert all(torch.equal(a, b) for own in found for a, b in zip(own, wanted, strict=True))


def adds(step):
    """Code that adds `step` to every number from `first` to `last` of an array."""
    module = ir.Module()
    w = Writer(module, "adds", [DOUBLE], 2, DOUBLE)
    with w.loop(*w.counts) as i:
        w.arrays[0].put(i, w.arrays[0].one(i) * 2.0 + step)
    w.end()
    return code_of(module, "adds")


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_fewer_threads_than_parts_do_all_parts_and_more_none_twice(threads):
    """OpenMP may give fewer threads than were asked for. Every part has its two tasks done in order."""
    codes, room = [adds(1.0), adds(10.0)], np.zeros(6)
    parts = [[packed(room.ctypes.data, first, first + 2)] * 2 for first in (0, 2, 4)]
    calls = [n for own in parts for c, p in zip(codes, own, strict=True) for n in (c.address, team._start(p))]
    who, member = ctypes.CFUNCTYPE(ctypes.c_int), team._member()
    for number in range(threads):
        asked = who(lambda own=number: own), who(lambda: threads)
        member.run(packed(*(team._address(a) for a in asked), 3, 2, *calls))
    assert room.tolist() == [12.0] * 6


@pytest.mark.parametrize("missing", [OSError, AttributeError])
def test_without_openmp_there_is_a_pool(missing, monkeypatch):
    def refuse(_path):
        raise missing

    monkeypatch.setattr(team.ctypes, "CDLL", refuse)
    assert team._reached.__wrapped__() is None
    monkeypatch.undo()
    monkeypatch.setattr(team.sys, "platform", "win32")
    assert team._reached.__wrapped__() is None


def test_little_work_is_done_at_once(monkeypatch):
    monkeypatch.setattr(team, "_openmp", lambda: pytest.fail)
    monkeypatch.setattr(team, "_pool", lambda: pytest.fail("a thread was asked for"))
    assert compiled.exponential(torch.zeros(2, 28)).shape == (2, 8, 8)
