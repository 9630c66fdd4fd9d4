"""Signed statements about a ledger: Ed25519 over a checkpoint note (C2SP tlog-checkpoint and signed-note), which other tools read too.

The text that is signed: origin, size, root in base64, then two lines of ours (`head`, `at`). The key lies in one file that only its owner
may read. Whoever holds that file can sign, so a signature shows who wrote a checkpoint; that no other was written, only a witness shows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from sekisho.core.errors import LedgerError
from sekisho.core.records import Checkpoint

from .chain import Head
from .merkle import Frontier

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ED25519 = b"\x01"
"""Algorithm byte of a signed note's key."""
_DASH = "\u2014"
_MARK = 92
"""Base64 characters of a signature: 4 bytes that name the key, then 64."""


class Statement(NamedTuple):
    """What a checkpoint says. `root` and `head` are tagged digests."""

    size: int
    root: str
    head: str
    at: str


class Signer:
    """The ledger's key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Use `Signer.open`."""
        self._key = key
        self.public = "ed25519:" + base64.b64encode(key.public_key().public_bytes_raw()).decode()
        """The public key: `ed25519:` and 32 bytes in base64."""

    @classmethod
    def open(cls, path: Path) -> Signer:
        """Read the key, made on first use with rights for its owner alone.

        Raises:
            LedgerError: others may read it, or it is no Ed25519 key.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        if not path.exists():
            _make(path)
        _check_rights(path)
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as e:
            raise LedgerError(f"{path} is no private key.", "Restore it from a backup.") from e
        if not isinstance(key, Ed25519PrivateKey):
            raise LedgerError(f"{path} is no Ed25519 key.", "Restore it from a backup.")
        return cls(key)

    def sign(self, said: Statement) -> str:
        """Return the signed note."""
        text = _text(origin_of(self.public), said)
        mark = base64.b64encode(_key_hash(self.public) + self._key.sign(text.encode())).decode()
        return f"{text}\n{_DASH} {origin_of(self.public)} {mark}\n"


def is_signed(note: str, said: Statement, public: str) -> bool:
    """Whether `note` is exactly this statement, signed by this key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        text = _text(origin_of(public), said)
        head, mark = f"{text}\n{_DASH} {origin_of(public)} ", note[-1 - _MARK : -1]
        signed = base64.b64decode(mark, validate=True)
        # Written again: the last character of base64 carries bits that decoding ignores.
        again = base64.b64encode(signed).decode()
        if note != f"{head}{again}\n" or signed[:4] != _key_hash(public):
            return False
        Ed25519PublicKey.from_public_bytes(_raw(public)).verify(signed[4:], text.encode())
    except (ValueError, binascii.Error, InvalidSignature):
        return False
    return True


def statement_of(c: Checkpoint) -> Statement:
    """What a checkpoint says."""
    return Statement(c.size, c.root, c.head, c.at)


def checkpoint_fault(body: Any, seq: int, head: Head, tree_before: Frontier, key: str | None) -> str | None:
    """Say what is wrong with the checkpoint at `seq`, given head and tree before it; None when it is true.

    Args:
        key: the public key of the checkpoints before; None for the first.
    """
    try:
        said = Checkpoint.model_validate(body)
    except ValidationError:
        return "it is no readable checkpoint"
    if said.size != seq - 1:
        return f"this checkpoint speaks of {said.size} entries but {seq - 1} stand before it"
    if said.head != head.digest or said.root != "sha256:" + tree_before.root().hex():
        return "this checkpoint speaks of another ledger"
    if key is not None and said.key != key:
        return "this checkpoint is signed with another key than those before"
    if not is_signed(said.note, statement_of(said), said.key):
        return "this checkpoint's signature does not hold"
    return None


def origin_of(public: str) -> str:
    """The name a key signs under: the beginning of the key's own digest."""
    return "sekisho/" + hashlib.sha256(_raw(public)).hexdigest()[:16]


def _text(origin: str, said: Statement) -> str:
    root = base64.b64encode(bytes.fromhex(said.root.removeprefix("sha256:"))).decode()
    return f"{origin}\n{said.size}\n{root}\nhead {said.head}\nat {said.at}\n"


def _key_hash(public: str) -> bytes:
    return hashlib.sha256(origin_of(public).encode() + b"\n" + _ED25519 + _raw(public)).digest()[:4]


def _raw(public: str) -> bytes:
    if not public.startswith("ed25519:"):
        raise ValueError("not an Ed25519 key")
    return base64.b64decode(public.removeprefix("ed25519:"), validate=True)


def _make(path: Path) -> None:
    """Make a key under its final name at once and whole; of two processes, the second uses the first one's."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    part = path.with_name(f".{path.name}-{os.getpid()}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)
    except FileExistsError:
        return
    finally:
        part.unlink()


def _check_rights(path: Path) -> None:
    if os.name != "nt" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise LedgerError(
            f"Others may read the key {path}.", f"Run `chmod 600 {path}`; see who could read it."
        )
