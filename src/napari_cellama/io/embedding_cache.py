"""The embedding cache: vectors by content in the user's cache folder, hashes and vectors only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_cellama.core.encoder import EncoderInfo
from napari_cellama.core.events import CancelToken
from napari_cellama.errors import UserError
from napari_cellama.io.cache_pieces import (
    Damaged,
    Records,
    Wanted,
    append,
    read_vectors,
    sentence_hashes,
)

#: Where the cache is, and how many GiB it may take (0: none is kept), if not as by default.
FOLDER_VARIABLE, SIZE_VARIABLE = "NAPARI_CELLAMA_CACHE", "NAPARI_CELLAMA_CACHE_GIB"
GIB = 1 << 30
#: How large the cache may grow, and how much of the disk it leaves to others, in bytes.
LIMIT, RESERVE = 4 * GIB, GIB
#: A process begins another piece at this size; what is evicted is pieces.
PIECE_BYTES = 32 << 20
#: However small they are, more pieces than this are slow to look through.
MAX_PIECES = 2000


@dataclass(frozen=True)
class CacheUsage:
    """What a cache holds.

    Attributes
    ----------
    folder
        Where it is.
    n_bytes, limit
        How large it is, and may become.
    n_pieces
        How many files it has.
    """

    folder: Path
    n_bytes: int
    limit: int
    n_pieces: int


class CacheFolder:
    """An :class:`~napari_cellama.core.vectors.EmbeddingCache` in a folder.

    Any number of processes may use the folder at once: each appends to pieces of its own and
    reads all. A vector is found by the model's weights and settings, its precision and the
    sentence's hash; text is never written. Above the limit, the pieces go that were used least
    recently. Safe to use from several threads.

    Parameters
    ----------
    folder
        Made when something is first kept.
    limit
        In bytes; 0 keeps nothing.
    reserve
        How many bytes of the disk stay free.

    Attributes
    ----------
    notices
        What the user should know, one sentence each; grows.
    """

    def __init__(self, folder: Path, limit: int = LIMIT, reserve: int = RESERVE) -> None:
        self.folder = Path(folder)
        self.limit = limit
        self.reserve = reserve
        self.notices: list[str] = []
        self._lock = threading.Lock()
        self._writing: dict[str, Path] = {}
        self._owner = os.getpid()
        self._failed = False

    def find(
        self, info: EncoderInfo, sentences: Sequence[str], cancel: CancelToken
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, vectors) of the sentences that are kept, record by record.

        What is damaged is not found: the piece's good records are written anew and the piece is
        deleted.
        """
        self._failed = False  # the disk may have room again by the next run
        if self.limit <= 0:
            return
        wanted = Wanted(sentence_hashes(list(sentences)))
        for path in self._pieces(self.folder / _name(info)):
            cancel.check()
            yield from self._look_into(path, info, wanted)
            if wanted.all_found:
                return

    def keep(self, info: EncoderInfo, sentences: Sequence[str], vectors: np.ndarray) -> None:
        """Keep (n, dim) float32 vectors; where that fails, say so once and go on without."""
        self._keep(info, sentence_hashes(list(sentences)), vectors)

    def rate(self, info: EncoderInfo) -> float | None:
        """Return the sentences a second that were embedded on this device last, if known."""
        try:
            rates = json.loads(self._rates(info).read_text())
            return float(rates[info.device_name])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep_rate(self, info: EncoderInfo, per_second: float) -> None:
        """Keep a rate beside the vectors that were made at it; without a vector there is none."""
        if self.limit <= 0:
            return
        path = self._rates(info)
        unfinished = path.with_name(f"{path.name}-{secrets.token_hex(6)}.part")
        try:
            unfinished.write_text(json.dumps({info.device_name: per_second}))
            unfinished.replace(path)
        except OSError:  # it is only measured anew
            _delete(unfinished)

    def _rates(self, info: EncoderInfo) -> Path:
        return self.folder / _name(info) / "rate.json"

    def usage(self) -> CacheUsage:
        """Return how large the cache is."""
        sizes = [size for _, size, _ in self._by_age()]
        return CacheUsage(self.folder, sum(sizes), self.limit, len(sizes))

    def clear(self) -> int:
        """Delete all that is kept, and return how many bytes that was."""
        freed = sum(size for path, size, _ in self._by_age() if _delete(path))
        for path in self.folder.glob("*-*-*/rate.json*"):
            _delete(path)
        for folder in [*self.folder.glob("*-*-*"), self.folder]:
            _remove_if_empty(folder)
        return freed

    def _look_into(
        self, path: Path, info: EncoderInfo, wanted: Wanted
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows and vectors that a piece has of those still wanted."""
        used, whole = False, True
        try:
            with path.open("rb", buffering=0) as stream:
                records = Records(stream, _key(info), info.dim)
                for record, hits, places in wanted.in_records(records):
                    try:
                        batch = read_vectors(stream, record, info.dim)[places]
                    except Damaged:
                        whole = False
                        continue
                    wanted.take(hits)
                    used = True
                    yield hits, batch
            if used:
                with contextlib.suppress(OSError):  # a folder that others have filled for us
                    os.utime(path)  # used just now, which eviction goes by
        except FileNotFoundError:
            return  # evicted by another process
        except OSError as error:
            self._fail(f"cannot be read ({_reason(error)})")
        else:
            if not (whole and records.whole):
                self._mend(path, info)

    def _keep(self, info: EncoderInfo, hashes: np.ndarray, vectors: np.ndarray) -> None:
        with self._lock:
            if self._failed or self.limit <= 0 or not len(hashes):
                return
            try:
                path = self._own_piece(info)
                if path is not None and append(path, _key(info), hashes, vectors) > PIECE_BYTES:
                    del self._writing[_name(info)]
            except OSError as error:
                self._fail(f"cannot be written ({_reason(error)})")

    def _own_piece(self, info: EncoderInfo) -> Path | None:
        """Return the piece that this process appends to, a new one if need be."""
        if self._owner != os.getpid():  # a fork must not write to its parent's piece
            self._owner, self._writing = os.getpid(), {}
        name = _name(info)
        if name not in self._writing:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._make_room():
                self._fail("has no room (it or its disk is full)")
                return None
            self._writing[name] = self.folder / name / f"{os.getpid()}-{secrets.token_hex(6)}.vec"
        path = self._writing[name]
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # unless it was cleared
        return path

    def _make_room(self) -> bool:
        """Delete what was used least recently until a piece more fits; say whether it does."""
        pieces = self._by_age()
        total, left = sum(size for _, size, _ in pieces), len(pieces)
        free = shutil.disk_usage(self.folder).free
        piece = min(PIECE_BYTES, self.limit)
        room = min(self.limit, total + free - self.reserve)
        if piece > room:  # not even an empty cache would do, so nothing is gained by deleting
            return False
        in_use = set(self._writing.values())
        for path, size, _ in pieces:
            if total + piece <= room and left < MAX_PIECES:
                break
            if path not in in_use and _delete(path):
                total, left = total - size, left - 1
        return total + piece <= room

    def _mend(self, path: Path, info: EncoderInfo) -> None:
        """Write the good records of a damaged piece anew and delete the piece."""
        try:
            with path.open("rb", buffering=0) as stream:
                for record in Records(stream, _key(info), info.dim):
                    try:
                        vectors = read_vectors(stream, record, info.dim)
                    except Damaged:
                        continue
                    self._keep(info, record.hashes, vectors)
        except OSError:
            pass  # then the rest is embedded again
        if not self._failed:  # else its good records are nowhere else
            _delete(path)
        self._note(
            "Part of the embedding cache was damaged; it was thrown away, and what is missing is "
            "embedded again."
        )

    def _pieces(self, folder: Path) -> list[Path]:
        try:
            return sorted(folder.glob("*.vec"))
        except OSError as error:
            self._fail(f"cannot be read ({_reason(error)})")
            return []

    def _by_age(self) -> list[tuple[Path, int, int]]:
        """Return all pieces with size and time of last use, the one unused longest first."""
        found = []
        for path in self.folder.glob("*-*-*/*.vec"):
            try:
                state = path.stat()
            except OSError:
                continue  # deleted by another process
            found.append((path, state.st_size, state.st_mtime_ns))
        return sorted(found, key=lambda entry: entry[2])

    def _fail(self, problem: str) -> None:
        """Keep nothing more in this run, and say why."""
        self._failed = True
        self._note(
            f"The embedding cache in {self.folder} {problem}, so this run's embeddings may have "
            "to be made again next time."
        )

    def _note(self, text: str) -> None:
        if text not in self.notices[-3:]:
            self.notices.append(text)


def shared_cache() -> CacheFolder:
    """Return this process's cache, in the user's cache folder unless the environment says else.

    Raises
    ------
    UserError
        When the environment's size is not a number.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    size = os.environ.get(SIZE_VARIABLE)
    try:
        limit = LIMIT if not size else int(float(size) * GIB)
    except (ValueError, OverflowError):
        raise UserError(
            f"The environment's {SIZE_VARIABLE} is {size!r}; it must be a number of GiB, or 0 "
            "for no cache."
        ) from None
    place = Path(folder).expanduser() if folder else default_folder()
    with _shared_lock:
        cache = _shared.setdefault(place, CacheFolder(place))
        cache.limit = limit
    return cache


def default_folder() -> Path:
    """Return where the cache is unless the environment says else."""
    from platformdirs import user_cache_path

    return user_cache_path("napari-cellama") / "embeddings"


_shared: dict[Path, CacheFolder] = {}
_shared_lock = threading.Lock()


def _key(info: EncoderInfo) -> bytes:
    """Return 32 bytes that say what decides a vector besides its sentence."""
    parts = (info.weights_sha256, info.settings_sha256, info.dtype, info.dim, info.max_seq_length)
    return hashlib.sha256("\n".join(map(str, parts)).encode()).digest()


def _name(info: EncoderInfo) -> str:
    """Return the folder of a model's pieces: weights, precision, and the whole key in short."""
    return f"{info.weights_sha256[:12]}-{info.dtype}-{_key(info).hex()[:16]}"


def _delete(path: Path) -> bool:
    """Delete a file, if it is there and the system lets us."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
