"""The Merkle tree of RFC 6962 (section 2.1; verification as in RFC 9162, section 2.1.3): pure arithmetic over leaf hashes, no SQL.

A leaf is hashed with a 0x00 in front, an inner node with 0x01, so that neither passes for the other. The left subtree of n leaves is the
largest power of two below n. Hashes are 32 raw bytes (SHA-256).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

HASH_BYTES = 32
EMPTY = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

Subtree = Callable[[int, int], bytes]
"""Hash of the subtree over leaves `low` (included) to `high` (excluded)."""


def leaf_hash(data: bytes) -> bytes:
    """Return SHA-256(0x00, data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01, left, right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing tree of which only the roots of its complete subtrees are kept: at most one for each binary digit of its size.

    Appending hashes one node on average and at most log2(size) of them; memory is O(log size).
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        """Begin with these leaf hashes."""
        self.size = 0
        self._roots: list[bytes] = []
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes, width: int = 1) -> None:
        """Add a leaf hash on the right, or the root over `width` leaves: a power of two that divides the size."""
        full, self.size = self.size // width, self.size + width
        while full & 1:
            leaf, full = node_hash(self._roots.pop(), leaf), full >> 1
        self._roots.append(leaf)

    def root(self) -> bytes:
        """Return the root of the whole tree."""
        if not self._roots:
            return EMPTY
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root


def split(size: int) -> int:
    """Return how many of `size` > 1 leaves stand in the left subtree: the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def subtree_of(leaves: Sequence[bytes]) -> Subtree:
    """Return the subtree hashes over leaf hashes held in memory."""
    return lambda low, high: Frontier(leaves[low:high]).root()


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the audit path of leaf `index` (from 0) in the tree of `size` leaves, from the leaf up: PATH(m, D[n]) of RFC 6962.

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + split(high - low)
        if index < middle:
            path.append(subtree(middle, high))
            high = middle
        else:
            path.append(subtree(low, middle))
            low = middle
    return path[::-1]


def consistency_path(old: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that the tree of `size` leaves begins with the tree of `old` leaves: PROOF(m, D[n]) of RFC 6962.

    Raises:
        ValueError: `old` is not from 1 to `size`.
    """
    if not 0 < old <= size:
        raise ValueError(f"a tree of {old} cannot be the beginning of one of {size}")
    path: list[bytes] = []
    low, high, whole = 0, size, True
    while old != high:
        middle = low + split(high - low)
        if old <= middle:
            path.append(subtree(middle, high))
            high = middle
        else:
            path.append(subtree(low, middle))
            low, whole = middle, False
    # The old tree's own root is known to the verifier only when it is a whole left edge.
    return ([] if whole else [subtree(low, high)]) + path[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root a path leads to (RFC 9162, 2.1.3.2); None when no tree of that size has such a path."""
    if not 0 <= index < size:
        return None
    place, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            root = node_hash(sibling, root)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        place, last = place >> 1, last >> 1
    return root if last == 0 else None


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` proves that leaf `index` of the tree with that size and root has that hash."""
    return root_from_inclusion(leaf, index, size, path) == root


def is_consistent(old: int, size: int, old_root: bytes, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the larger tree begins with the smaller one (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= size:
        return False
    if old == size:
        return not path and old_root == root
    hashes = list(path)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        return False
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and first == old_root and second == root
