"""Leader and followers: a crowd commits together, and whoever is interrupted holds nobody up."""

from __future__ import annotations

import threading
import time

import pytest

from sekisho.core.errors import ConflictError, LedgerError
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
            queue.run([Job([])])

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
    queue.run([Job([])])
    first = time.monotonic() - began
    queue.run([Job([])])
    assert first >= 0.2
    assert time.monotonic() - began - first < 0.1  # the crowd is known to be gone


def test_a_leader_that_is_interrupted_while_it_gathers_lets_the_others_go(monkeypatch):
    queue = Queue(lambda batch: [setattr(job, "entries", []) for job in batch])
    queue._crowd = 100

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(commit, "_sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            queue.run([Job([])])
    assert queue._waiting == []
    monkeypatch.setattr(commit, "_GATHER", 0.01)
    queue.run([Job([])])
    queue.close()


@pytest.mark.parametrize("late", [False, True])
def test_one_that_is_interrupted_while_it_sleeps_lets_the_others_go(monkeypatch, late):
    """`late`: when it was given the lead already, and does not know."""
    written, busy, free, asleep = [], threading.Event(), threading.Event(), threading.Event()

    def commits(batch):
        busy.set()
        free.wait(10)
        for job in batch:
            job.entries = []
            written.append(job)

    def interrupted(lock, seconds=-1):
        if threading.current_thread().name == "interrupted":
            asleep.set()
            if late:
                lock.acquire()
            raise KeyboardInterrupt
        real(lock, seconds)

    def run(job, results):
        try:
            results.append(queue.run([job]))
        except KeyboardInterrupt as e:
            results.append(e)

    queue, real, results = Queue(commits), commit._sleep, []
    monkeypatch.setattr(commit, "_sleep", interrupted)
    first, second, third = Job([]), Job([]), Job([])
    threads = [
        threading.Thread(target=run, args=(job, results), name=name)
        for job, name in ((first, "first"), (second, "interrupted"), (third, "third"))
    ]
    for thread, until in zip(threads, (busy, asleep, None), strict=True):
        thread.start()
        assert until is None or until.wait(10)
    while third not in queue._waiting:
        time.sleep(0.001)
    free.set()
    for thread in threads:
        thread.join(10)
    assert written == [first, third]
    assert sorted(map(repr, results)) == ["KeyboardInterrupt()", "None", "None"]
    queue.close()


def test_closing_waits_for_those_who_wait():
    written = []

    def commits(batch):
        time.sleep(0.05)
        for job in batch:
            job.entries = []
            written.append(job)

    queue = Queue(commits)
    threads = [threading.Thread(target=queue.run, args=([Job([])],)) for _ in range(5)]
    for thread in threads:
        thread.start()
    while not queue._waiting:
        time.sleep(0.001)
    queue.close()
    assert len(written) == 5
    with pytest.raises(LedgerError, match="closed"):
        queue.run([Job([])])
    for thread in threads:
        thread.join()


def test_jobs_of_one_caller_go_in_one_batch_and_one_that_is_refused_takes_none_with_it(ledger):
    ledger.append([judgement("taken")])
    jobs = [ledger.job([judgement(name)]) for name in ("a", "taken", "b")]
    ledger.commit(jobs)
    assert [job.outcome()[0].seq for job in (jobs[0], jobs[2])] == [2, 3]
    with pytest.raises(ConflictError):
        jobs[1].outcome()
    assert ledger.verify().ok


def test_jobs_of_many_callers_are_all_written_once():
    written = []

    def commits(batch):
        time.sleep(0.001)
        written.append(batch)
        for job in batch:
            job.entries = []

    queue, sets = Queue(commits), [[Job([]) for _ in range(n % 4 + 1)] for n in range(40)]
    threads = [threading.Thread(target=queue.run, args=(jobs,)) for jobs in sets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(id(job) for batch in written for job in batch) == sorted(
        id(job) for jobs in sets for job in jobs
    )
    for jobs in sets:
        assert sum(any(job in batch for job in jobs) for batch in written) == 1
    queue.close()


def test_all_jobs_of_one_that_is_interrupted_while_it_waits_are_left_out(monkeypatch):
    queue = Queue(lambda batch: [setattr(job, "entries", []) for job in batch])
    queue._leading = True

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commit, "_sleep", interrupted)
    others = [Job([])]
    queue._waiting.extend(others)
    with pytest.raises(KeyboardInterrupt):
        queue.run([Job([]), Job([])])
    assert queue._waiting == others


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
