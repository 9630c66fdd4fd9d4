"""The tree against the published vectors of Certificate Transparency, against the recursive definition, and against mutations."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.ledger.merkle import (
    EMPTY,
    Frontier,
    consistency_path,
    inclusion_path,
    is_consistent,
    is_included,
    leaf_hash,
    root_from_inclusion,
    split,
    subtree_of,
)

# The eight leaves and the answers that certificate-transparency's own reference tests use for RFC 6962.
DATA = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
LEAVES = [leaf_hash(bytes.fromhex(d)) for d in DATA]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (3, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (2, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def hexes(path):
    return [h.hex() for h in path]


def test_the_empty_tree():
    assert Frontier().root() == EMPTY == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size):
    assert Frontier(LEAVES[:size]).root().hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("number", "size"), PATHS)
def test_published_inclusion_paths(number, size):
    path = inclusion_path(number - 1, size, subtree_of(LEAVES))
    assert hexes(path) == PATHS[number, size]
    assert is_included(LEAVES[number - 1], number - 1, size, path, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "size"), CONSISTENCY)
def test_published_consistency_paths(old, size):
    path = consistency_path(old, size, subtree_of(LEAVES))
    assert hexes(path) == CONSISTENCY[old, size]
    roots = [bytes.fromhex(ROOTS[n - 1]) for n in (old, size)]
    assert is_consistent(old, size, *roots, path)


def defined(leaves):
    """MTH of RFC 6962, word by word, over data already hashed as leaves."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined(leaves[:k]) + defined(leaves[k:])).digest()


def some(size, salt=b""):
    return [leaf_hash(salt + str(i).encode()) for i in range(size)]


def test_every_size_has_the_root_of_the_definition():
    grown = Frontier()
    for size in range(130):
        assert grown.size == size
        assert grown.root() == defined(some(size)) == Frontier(some(size)).root()
        grown.append(leaf_hash(str(size).encode()))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 65, 1000])
def test_the_frontier_keeps_one_hash_for_each_binary_digit(size):
    assert len(Frontier(some(size))._roots) == bin(size).count("1")


@given(st.integers(2, 10**7))
def test_split_is_the_largest_power_of_two_below(size):
    k = split(size)
    assert k & (k - 1) == 0
    assert k < size <= 2 * k


@given(st.integers(1, 200), st.data())
def test_an_inclusion_proof_holds_and_for_nothing_else(size, data):
    leaves = some(size)
    index = data.draw(st.integers(0, size - 1))
    path, root = inclusion_path(index, size, subtree_of(leaves)), defined(leaves)
    assert len(path) <= (size - 1).bit_length()
    assert is_included(leaves[index], index, size, path, root)
    other = data.draw(st.integers(0, size + 3).filter(lambda i: i != index))
    assert not is_included(leaves[index], other, size, path, root)
    assert not is_included(leaf_hash(b"other"), index, size, path, root)
    assert not is_included(leaves[index], index, size, [*path, root], root)
    if path:
        assert not is_included(leaves[index], index, size, path[:-1], root)
        at = data.draw(st.integers(0, len(path) - 1))
        changed = [*path[:at], bytes([path[at][0] ^ 1]) + path[at][1:], *path[at + 1 :]]
        assert not is_included(leaves[index], index, size, changed, root)


@given(st.integers(1, 200), st.data())
def test_a_consistency_proof_holds_and_for_nothing_else(size, data):
    leaves = some(size)
    old = data.draw(st.integers(1, size))
    path, root, old_root = (
        consistency_path(old, size, subtree_of(leaves)),
        defined(leaves),
        defined(leaves[:old]),
    )
    assert is_consistent(old, size, old_root, root, path)
    at = data.draw(st.integers(0, old - 1))
    rewritten = defined([*leaves[:at], leaf_hash(b"other"), *leaves[at + 1 : old]])
    assert not is_consistent(old, size, rewritten, root, path)
    assert not is_consistent(old, size, old_root, leaf_hash(b"other"), path)
    assert not is_consistent(old, size, old_root, root, [*path, root])
    if path:
        assert not is_consistent(old, size, old_root, root, path[:-1])


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_no_proof_between_trees_that_differ_in_the_beginning(old, size, data):
    """Whatever path a forger takes from either tree, a changed old leaf is never hidden."""
    old, size = sorted((old, size))
    at = data.draw(st.integers(0, old - 1))
    true, forged = some(size), some(size)
    forged[at] = leaf_hash(b"forged")
    for leaves in (true, forged):
        path = consistency_path(old, size, subtree_of(leaves))
        assert not is_consistent(old, size, defined(true[:old]), defined(forged), path)


def test_what_no_tree_can_have_is_refused():
    for index, size in ((-1, 4), (4, 4), (0, 0)):
        with pytest.raises(ValueError, match="not in a tree"):
            inclusion_path(index, size, subtree_of(some(4)))
        assert root_from_inclusion(LEAVES[0], index, size, []) is None
    for old in (0, 5):
        with pytest.raises(ValueError, match="beginning"):
            consistency_path(old, 4, subtree_of(some(4)))
        assert not is_consistent(old, 4, LEAVES[0], LEAVES[1], [])
    assert not is_consistent(3, 7, LEAVES[0], LEAVES[1], [])
