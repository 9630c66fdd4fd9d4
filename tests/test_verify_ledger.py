"""The stand-alone verifier: it knows nothing of this package, agrees with it, and checks what leaves the house."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarking import load_script
from ledger.makers import correction, forger, judgement
from sekisho.core.canonical import canonical_json
from sekisho.ledger import checkpoint, erasure, schema
from sekisho.ledger.export import export
from sekisho.ledger.signing import Signer
from sekisho.ledger.store import Ledger

SCRIPT = Path(__file__).parents[1] / "tools" / "verify_ledger.py"
KILOBYTE = 1024


@pytest.fixture(scope="module")
def tool():
    return load_script("tools/verify_ledger.py")


def timed(id, minute):
    """A judgement of its own time: two that differ in their id alone are a copy."""
    at = (datetime(2026, 11, 21, tzinfo=UTC) + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return judgement(id).model_copy(update={"at": at})


class Made:
    """A ledger with content, an erasure and two witnessed checkpoints, closed."""

    def __init__(self, folder: Path, size: int = 300) -> None:
        self.path, self.witness = folder / "home" / "ledger.sqlite", folder / "elsewhere" / "witness.jsonl"
        self.signer = Signer.open(folder / "key.pem")
        with Ledger.open(self.path) as ledger:
            self.erased = self._fill(ledger, "old", 3)
            erasure.retain(ledger, {"all": 7.0}, "a test", datetime.now(UTC) + timedelta(days=8))
            checkpoint.take(ledger, self.signer, self.witness)
            self._fill(ledger, "new", 3)
            ledger.append([timed(f"j{i}", i) for i in range(size)])
            ledger.append([correction("j1")])
            self.newest = checkpoint.take(ledger, self.signer, self.witness)

    @staticmethod
    def _fill(ledger, name, size):
        sealed = [ledger.seal(f"{name} text {i}") for i in range(size)]
        ledger.append([judgement(f"{name}{i}", content=s.digest) for i, s in enumerate(sealed)], sealed)
        return [s.digest for s in sealed]

    def proof(self, id, compact=False):
        with Ledger.open(self.path, read_only=True) as ledger:
            found = checkpoint.prove(ledger, id)
        if compact:
            from sekisho.loop.evidence import compact_form

            return compact_form(found)
        from sekisho.loop.evidence import whole_form

        return whole_form(found)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("ledger"))


def words(result):
    return " / ".join(w for _, w in result.problems)


def test_it_runs_alone(made, tmp_path):
    """Isolated, in an empty folder, without anything of this package in reach."""
    shutil.copy(SCRIPT, tmp_path / "verify_ledger.py")
    code = "import runpy, sys; sys.argv[0] = 'verify_ledger.py'\ntry: runpy.run_path('verify_ledger.py', run_name='__main__')\nfinally: print('MODULES', *sys.modules)"
    arguments = [str(made.path), "--witness", str(made.witness), "--json"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    document, _, modules = done.stdout.partition("MODULES")
    assert json.loads(document)["ok"] is True
    assert "sekisho" not in {m.partition(".")[0] for m in modules.split()}


def test_live_and_exported_it_sees_the_same(tool, made, tmp_path):
    with Ledger.open(made.path, read_only=True) as ledger:
        head = export(ledger, tmp_path / "export.jsonl")
        assert head == ledger.head()
    live = tool.verify(made.path, made.witness, (made.signer.public,))
    exported = tool.verify(tmp_path / "export.jsonl", made.witness, (made.signer.public,))
    for result in (live, exported):
        assert (result.problems, result.warnings, result.first_bad) == ([], [], None)
        assert (result.entries, result.head, result.checkpoints) == (*head, 2)
        assert (result.signed_to, result.witnessed_to) == (head.seq - 1, head.seq)
    assert live.root == exported.root


def test_it_reads_a_ledger_that_is_being_written(tool, made, tmp_path):
    shutil.copytree(made.path.parent, tmp_path / "home")
    with Ledger.open(tmp_path / "home" / "ledger.sqlite") as ledger:
        ledger.append([judgement("more")])
        assert (tmp_path / "home" / "ledger.sqlite-wal").stat().st_size > 0
        result = tool.verify(ledger.path, made.witness)
    assert result.problems == []
    assert result.entries == made.newest.size + 2
    assert result.warnings == ["the last 1 entries stand behind the newest checkpoint"]


def test_older_files_can_be_read_too(tool, tmp_path, monkeypatch):
    for version in range(1, len(schema.MIGRATIONS)):
        path = tmp_path / f"v{version}.sqlite"
        with monkeypatch.context() as m:
            m.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:version])
            with closing(schema.connect(path, "rwc")) as db:
                schema.migrate(db)
        assert tool.verify(path).problems == []


def test_it_knows_the_tables_and_triggers_of_every_version(tool):
    assert sorted(tool.VERSIONS) == list(range(1, len(schema.MIGRATIONS) + 1))
    import hashlib

    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        for version, step in enumerate(schema.MIGRATIONS, 1):
            step(db)
            found = {n: hashlib.sha256(sql.encode()).hexdigest() for n, sql in schema._objects(db).items()}
            assert found == tool.VERSIONS[version]


def test_without_key_and_witness_it_says_what_would_not_show(tool, made):
    result = tool.verify(made.path)
    assert result.problems == []
    assert len(result.warnings) == 2
    assert len(tool.verify(made.path, strict=True).problems) == 2


def test_another_key_is_refused(tool, made, tmp_path):
    other = Signer.open(tmp_path / "other.pem").public
    result = tool.verify(made.path, None, (other,))
    assert result.first_bad == 5
    assert "a key that is not the ledger's" in words(result)
    with pytest.raises(tool.UnreadableError, match="not the ledger's"):
        tool.verify(made.path, made.witness, (other,))


@pytest.fixture
def copied(made, tmp_path):
    path = tmp_path / "ledger.sqlite"
    shutil.copy(made.path, path)
    return path


def edit(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_trigger_with_a_name_of_sqlites_own_is_named(tool, made, copied):
    edit(copied, "ANALYZE")
    assert not tool.verify(copied, made.witness).problems
    hidden = "CREATE TRIGGER sqlite_a AFTER INSERT ON entries BEGIN SELECT 1; END"
    edit(
        copied,
        "PRAGMA writable_schema = ON",
        f"INSERT INTO sqlite_master VALUES ('trigger', 'sqlite_a', 'entries', 0, '{hidden}')",
    )
    assert tool.verify(copied, made.witness).problems == [(None, "trigger sqlite_a was added")]


def test_content_that_went_without_an_entry_is_a_problem(tool, made, copied):
    edit(copied, "DELETE FROM contents WHERE rowid = 1")
    result = tool.verify(copied, made.witness)
    assert result.problems == [(6, "the content of 1 entries is gone and no entry says that it was erased")]


def test_content_of_another_time_is_a_problem(tool, made, copied):
    with forger(copied) as db:
        db.execute("UPDATE contents SET at = '2099-01-01T00:00:00.000000Z' WHERE rowid = 2")
    result = tool.verify(copied, made.witness)
    assert (result.first_bad, len(result.problems)) == (7, 1)
    assert "was given another time" in words(result)


def test_content_that_came_back_is_a_problem(tool, made, copied):
    digest = made.erased[1]
    edit(copied, f"INSERT INTO contents VALUES ('{digest}', x'00', '\"x\"', 'now')")
    result = tool.verify(copied, made.witness)
    assert result.first_bad == 2
    assert "entry 4 says that it was erased" in words(result)


def test_a_copy_behind_the_witness_is_found(tool, made, tmp_path):
    shutil.copytree(made.path.parent, tmp_path / "home")
    with Ledger.open(tmp_path / "home" / "ledger.sqlite") as ledger:
        ledger.append([timed("copy", 150)])
        original = ledger.get("j150").seq
    result = tool.verify(tmp_path / "home" / "ledger.sqlite", made.witness)
    assert result.first_bad == made.newest.size + 2
    assert f"repeats entry {original}" in words(result)
    without = tool.verify(tmp_path / "home" / "ledger.sqlite", None, (made.signer.public,))
    assert without.problems == []
    assert f"entry {made.newest.size + 2}: it repeats entry {original} under another id" in without.warnings


def test_bytes_behind_the_last_page_are_found(tool, made, copied):
    with copied.open("ab") as file:
        file.write(b"hidden" * 1000)
    assert "behind the last page" in words(tool.verify(copied, made.witness))


def test_an_altered_block_of_the_tree_is_found(tool, made, copied):
    edit(copied, "UPDATE tree SET hash = zeroblob(32)")
    assert "block 0 of level 1" in words(tool.verify(copied, made.witness))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda line: line.replace(b'"ALLOW"', b'"DENY"', 1), "stored digest"),
        (lambda line: line.replace(b'"at":', b'"at": ', 1), "not canonical"),
        (lambda line: b'{"x":1}\n', "other fields"),
        (lambda line: b"\xff\n", "no entry"),
        (lambda line: b"", "missing"),
        (lambda line: line + line, "missing"),
        (lambda line: line[:-1], "not canonical|no entry"),
    ],
)
def test_a_spoilt_export_names_the_line(tool, made, tmp_path, spoil, what):
    file = tmp_path / "export.jsonl"
    with Ledger.open(made.path, read_only=True) as ledger:
        export(ledger, file)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[9] = spoil(lines[9])
    file.write_bytes(b"".join(lines))
    result = tool.verify(file, made.witness)
    assert result.first_bad == (11 if lines[9].count(b"\n") == 2 else 10)
    assert result.entries == result.first_bad - 1


def test_a_cut_export_is_found_by_the_witness(tool, made, tmp_path):
    file = tmp_path / "export.jsonl"
    with Ledger.open(made.path, read_only=True) as ledger:
        export(ledger, file)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    assert tool.verify(file).problems == []
    result = tool.verify(file, made.witness)
    assert result.first_bad == made.newest.size + 1


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("id", ["old1", "new2", "j150"])
def test_a_proof_holds_without_the_ledger(tool, made, tmp_path, id, compact):
    """`old1` was erased: its digest is proved all the same."""
    proof = made.proof(id, compact)
    file = tmp_path / "proof.json"
    file.write_bytes(canonical_json(proof))
    assert tool.verify(None, made.witness, (), file).problems == []
    assert tool.verify(made.path, None, (), file).problems == []
    step = len(proof["path"]) // 2
    spoilt = [
        {**proof, "path": proof["path"][:-1]},
        {**proof, "path": _other_step(proof["path"], step)},
        {},
        [],
    ]
    if compact:
        assert len(canonical_json(proof)) < KILOBYTE
        spoilt += [{**proof, "seq": proof["seq"] + 1}, {**proof, "size": 7}]
        spoilt.append({**proof, "digest": proof["digest"][:-1] + "x"})
    else:
        body = {**proof["entry"]["body"], "decision": "MAYBE"}
        spoilt.append({**proof, "entry": {**proof["entry"], "body": body}})
        spoilt.append({**proof, "checkpoint": {**proof["checkpoint"], "size": 7}})
    for other in spoilt:
        file.write_bytes(canonical_json(other))
        assert "the proof does not hold" in words(tool.verify(None, made.witness, (), file))


def _other_step(path, at):
    if isinstance(path, str):
        return path[:at] + ("A" if path[at] != "A" else "B") + path[at + 1 :]
    return [*path[:at], "00" * 32, *path[at + 1 :]]


def test_a_proof_against_a_forged_checkpoint_is_refused(tool, made, tmp_path):
    forged = Made(tmp_path, size=20)
    file = tmp_path / "proof.json"
    file.write_bytes(canonical_json(forged.proof("j3")))
    assert tool.verify(None, None, (), file).problems == []  # in itself it is one
    assert "not the ledger's" in words(tool.verify(None, made.witness, (), file))


def test_wrong_calls_end_with_2(made, tmp_path):
    def code(*arguments):
        done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        return done.returncode

    (tmp_path / "no.json").write_text("no json\n")
    assert code() == 2
    assert code(tmp_path / "none") == 2
    assert code(made.path, "--witness", tmp_path / "no.json") == 2
    assert code("--proof", tmp_path / "no.json") == 2
    assert code(tmp_path / "no.json") == 1
    assert code(made.path) == 0


def test_a_proof_of_consistency_is_checked_without_the_ledger(tool, tmp_path):
    made = Made(tmp_path)
    proof = tmp_path / "grown.json"
    with Ledger.open(made.path) as ledger:
        found = checkpoint.prove_consistency(ledger)
        whole = {
            "old": found.old.model_dump(),
            "new": found.new.model_dump(),
            "path": [step.hex() for step in found.path],
        }
    assert 0 < found.old.size < found.new.size
    key = (made.signer.public,)

    def problems(**more):
        proof.write_text(json.dumps(whole | more))
        return [words for _, words in tool.verify(None, keys=key, proof=proof).problems]

    assert problems() == []
    assert "does not begin with" in problems(path=whole["path"][:-1])[0]
    assert "does not begin with" in problems(old=whole["new"], new=whole["old"])[0]
    flipped = [("0" if s[0] != "0" else "1") + s[1:] for s in whole["path"]]
    assert "does not begin with" in problems(path=flipped)[0]
    assert "earlier checkpoint" in problems(old=whole["old"] | {"root": whole["new"]["root"]})[0]
    assert "no proof" in problems(path=[1])[0]


def test_both_ways_to_check_consistency_agree(tool):
    from sekisho.ledger import merkle

    leaves = [merkle.leaf_hash(str(i).encode()) for i in range(20)]
    subtree = merkle.subtree_of(leaves)
    roots = {n: tool.TAG + subtree(0, n).hex() for n in range(1, 21)}
    for size in range(1, 21):
        for old in range(1, size + 1):
            path = merkle.consistency_path(old, size, subtree)
            assert tool.is_consistent(old, size, roots[old], roots[size], path)
            for wrong in (path[1:], [*path, leaves[0]], path[::-1] if len(path) > 1 else [leaves[0]]):
                theirs = merkle.is_consistent(old, size, subtree(0, old), subtree(0, size), wrong)
                assert tool.is_consistent(old, size, roots[old], roots[size], wrong) == theirs


def test_a_proof_names_what_it_proves(made, tmp_path):
    def told(id, *extra, compact=False):
        file = tmp_path / "proof.json"
        file.write_bytes(canonical_json(made.proof(id, compact)))
        command = [sys.executable, SCRIPT, "--proof", file, "--witness", made.witness, *extra]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    alone = told("j150")
    assert "judgement j150 of " in alone
    assert f"of {made.newest.size}, sha256:" in alone
    assert "entries" not in alone
    assert "proved        entry " in told("j150", compact=True)
    assert "entries " in told("j150", made.path)
    assert "judgement j150" in json.loads(told("j150", "--json"))["proved"]
