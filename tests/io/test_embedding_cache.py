"""The embedding cache: whatever happens to its files, a vector is the right one or is not found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from napari_cellama.cli import main
from napari_cellama.core.encoder import EncoderInfo
from napari_cellama.core.events import CancelToken
from napari_cellama.errors import Cancelled, UserError
from napari_cellama.io import embedding_cache
from napari_cellama.io.embedding_cache import CacheFolder, shared_cache

INFO = EncoderInfo("model", "ab" * 32, "cpu", "a CPU", "float32", 6, 256, "cd" * 32)
WORDS = [f"Top gene is Gene{i}." for i in range(12)]
DAMAGED = "Part of the embedding cache was damaged"


def truth(sentences, info=INFO):
    """Return the one right vector of each sentence."""
    return np.stack(
        [np.random.default_rng(list(text.encode())).random(info.dim, "f4") for text in sentences]
    )


def keep(cache, sentences, info=INFO, batch=3):
    for start in range(0, len(sentences), batch):
        part = sentences[start : start + batch]
        cache.keep(info, part, truth(part, info))


def found(cache, sentences, info=INFO):
    """Return which sentences are found, having looked that their vectors are the right ones."""
    rows = []
    for some, vectors in cache.find(info, sentences, CancelToken()):
        np.testing.assert_array_equal(vectors, truth(sentences, info)[some])
        assert vectors.dtype == np.float32
        rows += some.tolist()
    assert len(set(rows)) == len(rows)
    return sorted(rows)


@pytest.fixture
def cache(tmp_path):
    return CacheFolder(tmp_path / "cache", reserve=0)


def pieces(cache):
    return sorted(cache.folder.rglob("*.vec"))


def in_a_process(code, *arguments, **options):
    """Run code that may use this module's names; a context that ends with the process."""
    here = os.path.dirname(__file__)
    code = f"import sys; sys.path.insert(0, {here!r})\nfrom test_embedding_cache import *\n{code}"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def test_what_is_kept_is_found_to_the_bit_by_another(cache):
    assert found(cache, WORDS) == []
    keep(cache, WORDS[:7])
    other = CacheFolder(cache.folder)
    assert found(other, WORDS) == list(range(7))
    assert found(other, [*WORDS[5:], "neither"]) == [0, 1]
    assert found(other, []) == []
    assert cache.notices == other.notices == []


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "ef" * 32},
        {"settings_sha256": "ef" * 32},
        {"dtype": "bfloat16"},
        {"max_seq_length": 128},
        {"dim": 7},
    ],
)
def test_only_the_same_model_and_precision_counts(cache, change):
    keep(cache, WORDS)
    assert found(cache, WORDS, replace(INFO, **change)) == []
    assert found(cache, WORDS, replace(INFO, device="cuda:0", model="by another name"))


def test_no_text_is_written(cache):
    keep(cache, WORDS)
    (piece,) = pieces(cache)
    assert b"Gene" not in piece.read_bytes()
    assert piece.parent.stat().st_mode & 0o077 == 0 or sys.platform == "win32"


def test_cut_anywhere_it_ends_with_the_last_whole_record(cache):
    keep(cache, WORDS)
    (piece,) = pieces(cache)
    content = piece.read_bytes()
    record = (len(content) - 64) // 4
    for cut in range(len(content)):
        piece.write_bytes(content[:cut])
        whole = max(0, cut - 64) // record
        assert found(cache, WORDS) == list(range(3 * whole)), cut
    assert cache.notices == []  # a process that died in a write has damaged nothing
    rest = CacheFolder(cache.folder, reserve=0)
    keep(rest, WORDS[9:])
    assert found(cache, WORDS) == list(range(12))


def test_any_wrong_byte_is_noticed_or_ends_the_piece_and_is_never_believed(cache):
    keep(cache, WORDS)
    (piece,) = pieces(cache)
    content = piece.read_bytes()
    noticed = 0
    for place in range(len(content)):
        for other in pieces(cache):
            other.unlink()
        wrong = bytearray(content)
        wrong[place] ^= 0x10
        piece.write_bytes(wrong)
        reader = CacheFolder(cache.folder, reserve=0)
        before = found(reader, WORDS)
        assert len(before) <= 9
        assert found(CacheFolder(cache.folder, reserve=0), WORDS) == before, "kept what was good"
        if reader.notices:
            noticed += 1
            assert reader.notices[0].startswith(DAMAGED)
            assert not piece.exists()
    # Of a record's length two high bytes are too large and say so; the low ones look like a
    # record that ends early.
    assert noticed >= len(content) - 4 * 3


def test_noise_and_emptiness_are_no_pieces(cache):
    keep(cache, WORDS[:3])
    folder = pieces(cache)[0].parent
    (folder / "empty.vec").touch()
    (folder / "noise.vec").write_bytes(os.urandom(5000))
    (folder / "zeros.vec").write_bytes(bytes(5000))
    (folder / "folder.vec").mkdir()
    assert found(cache, WORDS) == [0, 1, 2]
    assert any(notice.startswith(DAMAGED) for notice in cache.notices)
    assert {path.name for path in folder.iterdir()} >= {"empty.vec", "folder.vec"}


def test_processes_write_and_read_at_once(cache):
    """Two write overlapping halves, one sentence at a time, while this one reads."""
    many = [f"Top gene is Gene{i}." for i in range(600)]
    code = """
many = [f"Top gene is Gene{i}." for i in range(int(sys.argv[2]), int(sys.argv[3]))]
keep(CacheFolder(sys.argv[1], reserve=0), many, batch=1)
"""
    with ExitStack() as stack:
        writers = [
            stack.enter_context(in_a_process(code, cache.folder, *ends))
            for ends in ((0, 400), (200, 600))
        ]
        seen = 0
        while any(writer.poll() is None for writer in writers):
            now = len(found(cache, many))
            assert now >= seen
            seen = now
    assert [writer.returncode for writer in writers] == [0, 0]
    assert found(cache, many) == list(range(600))
    assert len(pieces(cache)) == 2
    assert cache.notices == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_writes_a_piece_of_its_own(cache):
    code = """
cache = CacheFolder(sys.argv[1], reserve=0)
keep(cache, WORDS[:4])
child = os.fork()
keep(cache, WORDS[4:8] if child else WORDS[8:])
if child:
    os.waitpid(child, 0)
"""
    with in_a_process(code, cache.folder) as process:
        pass
    assert process.returncode == 0
    assert len(pieces(cache)) == 2
    assert found(cache, WORDS) == list(range(12))


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_what_a_killed_process_kept_is_there(cache):
    code = """
keep(CacheFolder(sys.argv[1], reserve=0), WORDS[:9])
print("kept", flush=True)
os.read(0, 1)
"""
    process = in_a_process(code, cache.folder, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "kept\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert found(cache, WORDS) == list(range(9))


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit there")
def test_a_write_that_fails_halfway_leaves_the_piece_as_it_was(cache):
    """A limit on the file's size ends a write in the middle, as a full disk does."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
cache = CacheFolder(sys.argv[1], reserve=0)
keep(cache, WORDS)
print(*cache.notices, sep="|")
"""
    process = in_a_process(code, cache.folder)
    said, _ = process.communicate()
    assert process.returncode == 0
    assert said.count("|") == 0
    assert "cannot be written (File too large), so this run's embeddings may have" in said
    (piece,) = pieces(cache)
    assert (piece.stat().st_size - 64) % 160 == 0
    assert found(cache, WORDS) == list(range(9))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small tmpfs")
def test_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        cache = CacheFolder(disk / "cache", limit=16384, reserve=0)
        keep(cache, WORDS[:6])
        with pytest.raises(OSError, match="No space left"):
            (disk / "filled").write_bytes(bytes(1 << 20))
        many = [f"Top gene is Other{i}." for i in range(300)]
        keep(cache, many)
        assert len(cache.notices) == 1
        assert "(No space left on device)" in cache.notices[0]
        kept = found(cache, [*WORDS, *many])
        assert set(range(6)) <= set(kept) < set(range(312))
        (disk / "filled").unlink()
        keep(cache, many)  # the next run tries again
        assert len(found(cache, many)) == 300
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_damaged_piece_stays_while_its_good_records_find_no_place(cache):
    keep(cache, WORDS)
    (piece,) = pieces(cache)
    content = bytearray(piece.read_bytes())
    content[-1] ^= 1
    piece.write_bytes(content)
    reader = CacheFolder(cache.folder, reserve=1 << 62)
    assert found(reader, WORDS) == list(range(9))
    assert piece.exists()
    assert any("has no room" in notice for notice in reader.notices)
    assert found(CacheFolder(cache.folder, reserve=0), WORDS) == list(range(9))
    assert not piece.exists()


def test_a_cache_that_others_filled_can_be_read(cache, monkeypatch):
    keep(cache, WORDS)

    def refuse(path):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    reader = CacheFolder(cache.folder, reserve=0)
    assert found(reader, WORDS) == list(range(12))
    assert reader.notices == []


def test_some_of_the_disk_is_left_to_others(cache):
    cache.reserve = 1 << 62
    keep(cache, WORDS)
    assert pieces(cache) == []
    assert "has no room (it or its disk is full)" in cache.notices[0]


def test_what_was_used_least_recently_goes_first(cache, monkeypatch):
    monkeypatch.setattr(embedding_cache, "PIECE_BYTES", 500)
    many = [f"Top gene is Gene{i}." for i in range(54)]
    cache.limit = 3000
    keep(cache, many[:18])  # two pieces of nine sentences
    for path in pieces(cache):
        os.utime(path, (1, 1))
    assert found(CacheFolder(cache.folder), many[:1]) == [0]
    used = [path for path in pieces(cache) if path.stat().st_mtime > 1]
    assert len(used) == 1
    keep(cache, many[18:])
    assert cache.usage().n_bytes <= 3000
    left = found(cache, many)
    assert 0 in left, "it was read a moment ago"
    assert sum(i < 18 for i in left) == 9, "of the two old pieces nobody has read the other"
    assert {51, 52, 53} <= set(left), "the newest"
    assert cache.notices == []


def test_many_small_pieces_are_thinned_out(cache, monkeypatch):
    monkeypatch.setattr(embedding_cache, "MAX_PIECES", 5)
    for number in range(9):
        keep(CacheFolder(cache.folder, reserve=0), WORDS[number : number + 1])
    assert len(pieces(cache)) == 5
    assert 8 in found(cache, WORDS)


def test_a_folder_that_cannot_be_made_is_said_once(tmp_path):
    (tmp_path / "file").touch()
    cache = CacheFolder(tmp_path / "file" / "cache", reserve=0)
    assert found(cache, WORDS) == []
    keep(cache, WORDS)
    (notice,) = cache.notices
    assert notice.startswith(f"The embedding cache in {cache.folder} cannot be written (")


def test_a_cache_of_no_size_keeps_nothing(tmp_path):
    cache = CacheFolder(tmp_path / "cache", limit=0)
    keep(cache, WORDS)
    assert found(cache, WORDS) == []
    assert not cache.folder.exists()
    assert cache.notices == []


def test_cancel_is_heard_between_pieces(cache):
    keep(cache, WORDS)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        list(cache.find(INFO, WORDS, cancel))


def test_clearing_leaves_nothing_and_harms_nobody(cache):
    keep(cache, WORDS[:6])
    other = CacheFolder(cache.folder)
    assert other.usage().n_pieces == 1
    assert other.clear() == 64 + 2 * 160
    assert not cache.folder.exists()
    assert found(cache, WORDS) == []
    keep(cache, WORDS[6:])
    assert found(other, WORDS) == list(range(6, 12))
    assert cache.notices == []


def test_the_rate_is_of_a_model_on_a_device_and_goes_with_its_vectors(cache):
    cache.keep_rate(INFO, 100.0)
    assert cache.rate(INFO) is None  # nothing was embedded
    keep(cache, WORDS)
    cache.keep_rate(INFO, 100.0)
    other = CacheFolder(cache.folder)
    assert other.rate(INFO) == 100.0
    assert other.rate(replace(INFO, device_name="another")) is None
    assert other.rate(replace(INFO, dtype="bfloat16")) is None
    (path,) = cache.folder.rglob("rate.json")
    path.write_text("[3")
    assert other.rate(INFO) is None
    assert found(other, WORDS) == list(range(12))
    other.clear()
    assert not cache.folder.exists()


def test_clearing_touches_no_other_files(cache):
    keep(cache, WORDS)
    (cache.folder / "letter.txt").write_text("dear")
    cache.clear()
    assert [path.name for path in cache.folder.iterdir()] == ["letter.txt"]


def test_the_environment_says_where_and_how_large(embedding_cache, monkeypatch):
    assert shared_cache().folder == embedding_cache
    assert shared_cache() is shared_cache()
    monkeypatch.setenv("NAPARI_CELLAMA_CACHE_GIB", "0.5")
    assert shared_cache().limit == 1 << 29
    monkeypatch.setenv("NAPARI_CELLAMA_CACHE_GIB", "lots")
    with pytest.raises(UserError, match=r"CACHE_GIB is 'lots'; it must be a number of GiB"):
        shared_cache()
    monkeypatch.delenv("NAPARI_CELLAMA_CACHE")
    monkeypatch.delenv("NAPARI_CELLAMA_CACHE_GIB")
    assert shared_cache().folder.parts[-2:] == ("napari-cellama", "embeddings")


def test_the_command_shows_and_clears(embedding_cache, capsys):
    keep(shared_cache(), WORDS)
    assert main(["cache"]) == 0
    expected = f"0.0 MB of at most 4,295.0 MB in 1 file in {embedding_cache}\n"
    assert capsys.readouterr().out == expected
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"0.0 MB deleted in {embedding_cache}\n"
    assert main(["cache", "show"]) == 0
    assert "in 0 files in" in capsys.readouterr().out
    assert main(["cache", "burn"]) == 2
