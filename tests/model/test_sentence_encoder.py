"""The sentence transformer itself, in this process and in the child's."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from napari_cellama.core import embedding, loaded_model, model_process
from napari_cellama.core.batches import CPU_BATCH, GPU_BATCH, Batches, batch_end, batch_tokens
from napari_cellama.core.embedding import ModelError, ModelMemoryError, SentenceEncoder
from napari_cellama.core.events import CancelToken
from napari_cellama.core.model_files import TokenCounter
from napari_cellama.core.streams import Streams
from napari_cellama.errors import Cancelled, UserError


def embed(encoder, sentences):
    vectors = np.full((len(sentences), 384), np.nan, np.float32)
    seen = []
    for rows, batch in encoder.encode(sentences, CancelToken()):
        assert batch.dtype == np.float32
        vectors[rows] = batch
        seen.extend(rows.tolist())
    assert sorted(seen) == list(range(len(sentences)))
    return vectors


@pytest.fixture(scope="module")
def encoder(bundled):
    encoder = SentenceEncoder(bundled.path, name=bundled.name, device="cpu", dtype="float32")
    encoder.load(CancelToken())
    return encoder


@pytest.fixture(scope="module")
def reference(encoder, sentences):
    """What sentence-transformers itself makes of the sentences, one by one."""
    return np.stack([encoder._model.copies[0].encode(text) for text in sentences])


@pytest.fixture
def few(encoder, monkeypatch):
    """The loaded encoder, to be broken by one test."""
    model = encoder._model
    own = replace(model, copies=list(model.copies), streams=None, batch_tokens=400)
    monkeypatch.setattr(encoder, "_model", own)
    monkeypatch.setattr(encoder, "_info", encoder._info)
    monkeypatch.setattr(encoder, "notices", [])
    return encoder


def test_vectors_are_those_of_sentence_transformers(encoder, sentences, reference):
    vectors = embed(encoder, sentences)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors * reference).sum(axis=1).min() > 0.9999
    np.testing.assert_array_equal(vectors[3], vectors[46])


def test_info(encoder, bundled):
    info = encoder.load(CancelToken())
    assert info.weights_sha256 == bundled.weights_sha256
    assert (info.model, info.device, info.dtype) == ("all-MiniLM-L6-v2", "cpu", "float32")
    assert (info.dim, info.max_seq_length) == (384, 256)


def test_tokens_are_counted_as_the_model_does(encoder, bundled, sentences):
    tokenizer = encoder._model.copies[0].tokenizer
    expected = [len(tokenizer(text, truncation=False)["input_ids"]) for text in sentences]
    np.testing.assert_array_equal(TokenCounter(bundled.path).count(sentences), expected)
    np.testing.assert_array_equal(encoder.count_tokens(sentences), expected)
    assert TokenCounter(bundled.path).limit == encoder._model.copies[0].max_seq_length
    assert max(expected) > 3000


def test_cancel_between_batches(few, sentences):
    cancel = CancelToken()
    batches = few.encode(sentences, cancel)
    assert 1 <= len(next(batches)[0]) < len(sentences)
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(batches)


@pytest.mark.parametrize("n_streams", [0, 2])
def test_out_of_memory_halves_the_batch_and_loses_nothing(few, monkeypatch, n_streams):
    import torch

    tried = []
    really_start = loaded_model.start

    def cramped(model, texts, features):
        tried.append(len(texts))
        if len(texts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return really_start(model, texts, features)

    monkeypatch.setattr(loaded_model, "start", cramped)
    ten = [f"Top genes are MBP, PLP1, and GFAP. {i}" for i in range(10)]
    few._model.batch_tokens = 10 * int(few.count_tokens(ten)[0])
    few._model.streams = Streams(n_streams) if n_streams else None
    vectors = embed(few, ten)
    if few._model.streams is None:
        assert tried == [10, 5, 2, 2, 1, 2, 2, 1]
    else:
        assert tried[0] == 10
        assert max(tried[-5:]) == 2
    alone = np.stack([few._model.copies[0].encode(text) for text in ten])
    assert (vectors * alone).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
)
def test_no_memory_for_one_sentence_is_one_clear_error(few, monkeypatch, error):
    def crammed(model, texts, features):
        raise error

    monkeypatch.setattr(loaded_model, "start", crammed)
    with pytest.raises(ModelMemoryError, match="even with one sentence at a time") as caught:
        embed(few, ["a", "b", "c"])
    assert "crammed" in caught.value.details


@pytest.mark.parametrize("asked", ["auto", "cuda"])
@pytest.mark.parametrize("late", [False, True], ids=["when begun", "when waited for"])
def test_a_device_that_fails_midway_gives_way_to_the_cpu(
    few, sentences, reference, monkeypatch, asked, late
):
    monkeypatch.setattr(few, "device", asked)
    few._info = replace(few._info, device="cuda:0", device_name="Some GPU")
    really_start = loaded_model.start
    calls = []

    def fail():
        raise RuntimeError("CUDA error: device lost\nlong advice")

    def failing(model, texts, features):
        calls.append(len(texts))
        if len(calls) == 2:
            return fail if late else fail()
        return really_start(model, texts, features)

    monkeypatch.setattr(loaded_model, "start", failing)
    few._model.batch_tokens = 60
    vectors = embed(few, sentences[:6])
    assert (vectors * reference[:6]).sum(axis=1).min() > 0.9999
    assert few.load(CancelToken()).device == "cpu"
    assert few.notices == [
        "The language model cannot run on Some GPU (CUDA error: device lost); it runs on the CPU "
        "instead, which is slower."
    ]


def test_a_cpu_that_fails_is_an_error(few, monkeypatch):
    def failing(model, texts, features):
        raise RuntimeError("the processor is on fire")

    monkeypatch.setattr(loaded_model, "start", failing)
    with pytest.raises(ModelError, match=r"failed on CPU .*: the processor is on fire\.$"):
        embed(few, ["a"])


def test_a_gpu_that_does_not_start_gives_way_to_the_cpu(bundled, monkeypatch):
    monkeypatch.setattr(embedding, "device_groups", lambda device: [["meta"], ["cpu"]])
    encoder = SentenceEncoder(bundled.path, dtype="float32")
    assert encoder.load(CancelToken()).device == "cpu"
    (notice,) = encoder.notices
    assert notice.startswith("The language model cannot run on meta (")


def test_a_device_that_is_not_there_is_refused(bundled):
    with pytest.raises(UserError, match="finds no device 'cuda:99' here; choose 'auto' or one of"):
        SentenceEncoder(bundled.path, device="cuda:99").load(CancelToken())


def test_bfloat16_that_is_not_true_enough_is_not_taken(bundled, sentences, reference, monkeypatch):
    monkeypatch.setattr(loaded_model, "computes_bfloat16", lambda device: True)
    monkeypatch.setattr(loaded_model, "MIN_COSINE", 1.1)
    encoder = SentenceEncoder(bundled.path, device="cpu")
    assert encoder.load(CancelToken()).dtype == "float32"
    assert (embed(encoder, sentences[:4]) * reference[:4]).sum(axis=1).min() > 0.9999


def test_no_bfloat16_where_the_hardware_has_none(bundled, monkeypatch):
    monkeypatch.setattr(loaded_model, "computes_bfloat16", lambda device: False)
    encoder = SentenceEncoder(bundled.path, device="cpu")
    assert encoder.load(CancelToken()).dtype == "float32"


def test_several_devices_share_the_work(bundled, sentences, reference, monkeypatch):
    """Two of them, which here are the same processor."""
    monkeypatch.setattr(embedding, "device_groups", lambda device: [["cpu", "cpu"]])
    worked = []
    really_start = loaded_model.start

    def noted(model, texts, features):
        worked.append(id(model))
        return really_start(model, texts, features)

    monkeypatch.setattr(loaded_model, "start", noted)
    encoder = SentenceEncoder(bundled.path, dtype="float32")
    info = encoder.load(CancelToken())
    assert info.device == "cpu,cpu"
    assert info.device_name.startswith("2 x CPU (")
    encoder._model.batch_tokens = 400
    assert (embed(encoder, sentences) * reference).sum(axis=1).min() > 0.9999
    assert len(set(worked)) == 2
    assert len(set(worked[::2])) == len(set(worked[1::2])) == 1


def test_a_model_that_takes_more_than_ids_is_left_to_its_own_encode(
    bundled, sentences, reference, monkeypatch
):
    from sentence_transformers import SentenceTransformer

    really = SentenceTransformer.preprocess

    def more(self, *given, **options):
        features = really(self, *given, **options)
        return {**features, "positions": features["input_ids"]}

    monkeypatch.setattr(SentenceTransformer, "preprocess", more)
    encoder = SentenceEncoder(bundled.path, device="cpu", dtype="float32")
    encoder.load(CancelToken())
    assert encoder._model.fed is None
    monkeypatch.undo()
    encoder._model.batch_tokens = 400
    assert (embed(encoder, sentences) * reference).sum(axis=1).min() > 0.9999


def test_batches_given_back_are_cut_anew_and_come_first():
    budget = [1000]
    texts = ["x" * (1 + i % 7) for i in range(50)]

    def read(part):
        return np.array([len(text) for text in part]), [[1] * len(text) for text in part]

    batches = Batches(texts, read, lambda ids: {"n": len(ids)}, lambda: budget[0])
    first = batches.next()
    budget[0] = 10
    batches.give_back([first])
    seen = []
    while (batch := batches.next()) is not None:
        assert batch.tokens <= 10
        assert batch.features == {"n": len(batch.rows)}
        assert [texts[row] for row in batch.rows] == batch.sentences
        seen += batch.rows.tolist()
        if len(seen) == len(batch.rows):
            assert set(seen) <= set(first.rows.tolist())
    assert sorted(seen) == list(range(50))
    batches.close()


def test_batches_run_side_by_side_each_on_its_share_of_the_cores(
    bundled, sentences, reference, monkeypatch
):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    streams = Streams(2)
    assert torch.get_num_threads() == 4
    torch.set_num_threads(before)
    both = threading.Barrier(2, timeout=60)
    worked = []
    really_start = loaded_model.start

    def noted(model, texts, features):
        if len(worked) < 2:
            worked.append(torch.get_num_threads())
            both.wait()
        return really_start(model, texts, features)

    monkeypatch.setattr(loaded_model, "start", noted)
    encoder = SentenceEncoder(bundled.path, device="cpu", dtype="float32")
    encoder.load(CancelToken())
    encoder._model.streams, encoder._model.batch_tokens = streams, 100
    assert (embed(encoder, sentences) * reference).sum(axis=1).min() > 0.9999
    assert worked == [2, 2]


@pytest.mark.parametrize(
    ("cores", "most", "number"), [(1, 4, 1), (2, 4, 2), (3, 4, 3), (6, 4, 3), (8, 2, 2), (7, 4, 1)]
)
def test_streams_share_cores_evenly(cores, most, number):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    assert Streams(most).number == number
    torch.set_num_threads(before)


def test_larger_models_take_smaller_batches():
    import torch

    def batch(parameters, device="cpu"):
        model = torch.nn.Module()
        model.weight = torch.nn.Parameter(torch.empty(parameters, device="meta"))
        return batch_tokens(model, device)

    assert batch(1_000_000) == batch(22_000_000) == CPU_BATCH
    assert batch(110_000_000) == int(CPU_BATCH * 25 / 110)
    assert 1 <= batch(8_000_000_000) < 20
    assert batch(8_000_000_000, "cuda:0") == GPU_BATCH


def test_batches_hold_equal_lengths_or_are_a_quarter_full():
    rng = np.random.default_rng(0)
    for budget in (1, 50, 400, 4096):
        lengths = np.sort(rng.integers(3, 120, 300))[::-1].astype(np.int64)
        start = 0
        while start < len(lengths):
            end = batch_end(lengths, start, budget)
            batch = lengths[start:end]
            tokens = len(batch) * batch[0]
            assert len(batch) == 1 or tokens <= budget
            enough = end == len(lengths) or tokens + batch[0] > budget // 4
            assert enough, "small batches are slow"
            assert len(set(batch)) == 1 or (len(batch) - 1) * batch[0] < budget // 4
            start = end


def test_the_child_gives_the_same_vectors_in_bfloat16(bundled, sentences, reference):
    process = model_process.ModelProcess(
        bundled.path, name=bundled.name, device="cpu", dtype="bfloat16"
    )
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        process.load(cancel)
    pid = process.pid
    vectors = embed(process, sentences)
    assert process.pid == pid, "the load that was given up is the one that was used"
    assert process.load(CancelToken()).dtype == "bfloat16"
    assert (vectors * reference).sum(axis=1).min() >= 0.998
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    process.close()


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_parent_never_imports_torch():
    out = run_python("""
import sys
from napari_cellama.io.models import available_models, describe_device, resolve_model
from napari_cellama.core.events import CancelToken
from napari_cellama.core.model_process import shared
folder = resolve_model(available_models()[0])
describe_device()
process = shared(folder.path, name=folder.name, weights_sha256=folder.weights_sha256)
process.count_tokens(["Top gene is A."])
print(sum(len(rows) for rows, _ in process.encode(["Top gene is A."], CancelToken())))
heavy = {"torch", "transformers", "sentence_transformers", "scipy", "pandas", "napari", "anndata"}
print(sorted(heavy & set(sys.modules)))
""")
    assert out == "1\n[]\n"


def test_a_bare_gpu_node_is_enough():
    out = run_python("""
import sys
class Absent:
    names = {"anndata", "napari", "scanpy", "squidpy", "pydantic", "qtpy", "magicgui", "psygnal",
             "h5py", "zarr", "matplotlib", "platformdirs", "superqt", "typer", "vispy"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from napari_cellama.core.embedding import SentenceEncoder
from napari_cellama.core.events import CancelToken
from napari_cellama.io.models import resolve_model
encoder = SentenceEncoder(resolve_model("all-MiniLM-L6-v2").path)
batches = list(encoder.encode(["Top gene is A.", "Top gene is B."], CancelToken()))
print([vectors.shape for _, vectors in batches])
""")
    assert out == "[(2, 384)]\n"
