"""Leader and followers: a crowd commits together, and whoever is interrupted holds nobody up."""

from __future__ import annotations

import threading
import time

import pytest

from sekisho.core.errors import ConflictError
from sekisho.ledger import commit
from sekisho.ledger.commit import Job, Queue

from .makers import judgement

WRITERS = 12


def test_a_crowd_that_comes_back_shares_one_commit():
    """Without gathering, the half that comes back late would go with the next commit, and so on for ever."""
    sizes = []

    def commits(batch):
        sizes.append(len(batch))
        time.sleep(0.01)
        for job in batch:
            job.entries = []

    queue = Queue(commits)

    def work():
        for _ in range(20):
            queue.run(Job([]))

    threads = [threading.Thread(target=work) for _ in range(WRITERS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sum(sizes) == 20 * WRITERS
    assert sum(s > 0.75 * WRITERS for s in sizes) > 10


def test_nobody_waits_for_a_crowd_that_does_not_come(monkeypatch):
    monkeypatch.setattr(commit, "_GATHER", 0.2)
    queue = Queue(lambda batch: [setattr(job, "entries", []) for job in batch])
    queue._crowd = 100
    began = time.monotonic()
    queue.run(Job([]))
    first = time.monotonic() - began
    queue.run(Job([]))
    assert first >= 0.2
    assert time.monotonic() - began - first < 0.1  # the crowd is known to be gone


def test_a_leader_that_is_interrupted_while_it_gathers_lets_the_others_go(monkeypatch):
    queue = Queue(lambda batch: [setattr(job, "entries", []) for job in batch])
    queue._crowd = 100

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(queue._gathered, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            queue.run(Job([]))
    assert queue._waiting == []
    monkeypatch.setattr(commit, "_GATHER", 0.01)
    assert queue.run(Job([])) == []
    queue.close()


def test_one_taken_id_in_a_crowd_is_one_callers_fault(ledger):
    ledger.append([judgement("taken")])
    ledger._queue._crowd, results = 5, {}

    def work(name):
        try:
            results[name] = ledger.append([judgement(name), judgement()])
        except ConflictError as e:
            results[name] = e

    threads = [threading.Thread(target=work, args=(n,)) for n in ("a", "taken", "b", "c", "a")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert isinstance(results["taken"], ConflictError)
    assert ledger.count() == 1 + 2 * 3
    assert ledger.verify().ok
