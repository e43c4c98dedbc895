"""The files of the embedding cache: pieces that one process appends to and any may read.

A piece begins with a header (what model and precision its vectors are of) and is then a row of
records, one a batch: a head, the sentences' hashes, their vectors. Head and hashes are checked
by one digest, the vectors by another, so that looking for sentences reads only hashes. Nothing
is ever changed once it is written, so that no lock is needed: whatever does not fit its digest
is not believed, and a record that ends early is one that is being written, or was when its
process died.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

HASH_BYTES = 16
_PIECE = struct.Struct("<8sI4x32s16s")  # magic, dim, key, digest of these
_RECORD = struct.Struct("<4sI16s16s")  # magic, n, digest of the vectors, digest of all but them
_PIECE_MAGIC, _RECORD_MAGIC = b"cellama1", b"\x93vec"
#: More sentences than any batch has; a larger number is damage.
_MAX_RECORD = 1 << 20


@dataclass(frozen=True)
class Record:
    """Where a batch lies in a piece.

    Attributes
    ----------
    hashes
        (n, 2) uint64, of the sentences.
    start
        Where the vectors begin, in bytes.
    digest
        Of the vectors.
    """

    hashes: np.ndarray
    start: int
    digest: bytes


class Damaged(Exception):
    """Something in a piece is not what was written."""


def sentence_hashes(sentences: list[str]) -> np.ndarray:
    """Return (n, 2) uint64: 128 bits of BLAKE2b of each sentence."""
    digests = b"".join(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()
        for text in sentences
    )
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def append(path: Path, key: bytes, hashes: np.ndarray, vectors: np.ndarray) -> int:
    """Append a record, with the piece's header if there is none yet, and return the new size.

    Parameters
    ----------
    path
        The piece; no other process writes to it.
    key
        32 bytes that say what the vectors are of.
    hashes, vectors
        (n, 2) uint64 and (n, dim) float32.

    Raises
    ------
    OSError
        E.g. when the disk is full; the piece is then as it was before.
    """
    hashes = np.ascontiguousarray(hashes, "<u8")
    vectors = np.ascontiguousarray(vectors, "<f4")
    body = hashes.tobytes() + vectors.tobytes()
    record = _record_head(hashes.tobytes(), _digest(vectors)) + body
    with path.open("ab", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        content = memoryview(record if size else _piece_head(key, vectors.shape[1]) + record)
        try:
            while content:
                content = content[stream.write(content) :]
        except OSError:
            stream.truncate(size)
            raise
        return stream.tell()


def read_records(stream: BinaryIO, key: bytes, dim: int) -> Iterator[Record]:
    """Yield a piece's whole records; the vectors are not read yet.

    Raises
    ------
    Damaged
        As soon as something is not what was written. A piece that only ends early is not
        damaged.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(_PIECE.size)
    if not _piece_head(key, dim).startswith(head):
        raise Damaged("another piece's header")
    position = _PIECE.size
    while position + _RECORD.size <= size:
        stream.seek(position)
        head = stream.read(_RECORD.size)
        magic, n, digest, _ = _RECORD.unpack(head)
        if magic != _RECORD_MAGIC or not 0 < n <= _MAX_RECORD:
            raise Damaged(f"no record at byte {position}")
        start = position + _RECORD.size + HASH_BYTES * n
        position = start + 4 * dim * n
        if position > size:
            return
        hashes = stream.read(HASH_BYTES * n)
        if _record_head(hashes, digest) != head:
            raise Damaged(f"other hashes before byte {start}")
        yield Record(np.frombuffer(hashes, "<u8").reshape(-1, 2), start, digest)


def read_vectors(stream: BinaryIO, record: Record, dim: int) -> np.ndarray:
    """Return a record's (n, dim) float32 vectors.

    Raises
    ------
    Damaged
        When they are not those that were written.
    """
    stream.seek(record.start)
    content = stream.read(4 * dim * len(record.hashes))
    if _digest(content) != record.digest:
        raise Damaged(f"other vectors at byte {record.start}")
    return np.frombuffer(content, "<f4").reshape(-1, dim).astype(np.float32, copy=False)


class Records:
    """Iterates over a piece's good records; ``whole`` says whether there was anything else."""

    def __init__(self, stream: BinaryIO, key: bytes, dim: int) -> None:
        self._steps = read_records(stream, key, dim)
        self.whole = True

    def __iter__(self) -> Iterator[Record]:
        try:
            yield from self._steps
        except Damaged:
            self.whole = False


@dataclass
class Wanted:
    """Finds hashes among those that are looked for.

    Attributes
    ----------
    hashes
        (n, 2) uint64, each different.
    """

    hashes: np.ndarray
    order: np.ndarray = field(init=False)
    first: np.ndarray = field(init=False)
    missing: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.order = np.argsort(self.hashes[:, 0])
        self.first = self.hashes[self.order, 0]
        self.missing = np.ones(len(self.hashes), bool)
        self._left = len(self.hashes)

    @property
    def all_found(self) -> bool:
        """Whether nothing is looked for any more."""
        return self._left == 0

    def take(self, rows: np.ndarray) -> None:
        """Look for these no longer."""
        self.missing[rows] = False
        self._left -= len(rows)

    def in_records(
        self, records: Iterable[Record]
    ) -> Iterator[tuple[Record, np.ndarray, np.ndarray]]:
        """Yield the records that have something, which rows that is, and where it is in them."""
        if not len(self.hashes):
            return
        for record in records:
            position = np.searchsorted(self.first, record.hashes[:, 0])
            rows = self.order[np.minimum(position, len(self.order) - 1)]
            hit = (self.hashes[rows] == record.hashes).all(axis=1) & self.missing[rows]
            # A record has each sentence once, unless it was made by someone else.
            rows, places = np.unique(rows[hit], return_index=True)
            if len(rows):
                yield record, rows, np.flatnonzero(hit)[places]


def _piece_head(key: bytes, dim: int) -> bytes:
    plain = _PIECE.pack(_PIECE_MAGIC, dim, key, b"")[:-HASH_BYTES]
    return plain + _digest(plain)


def _record_head(hashes: bytes, digest: bytes) -> bytes:
    plain = _RECORD.pack(_RECORD_MAGIC, len(hashes) // HASH_BYTES, digest, b"")[:-HASH_BYTES]
    return plain + _digest(plain + hashes)


def _digest(content: bytes | np.ndarray) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
