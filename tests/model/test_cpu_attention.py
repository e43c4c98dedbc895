"""The attention for short texts is attention."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellama.core import cpu_attention
from napari_cellama.core.embedding import SentenceEncoder
from napari_cellama.core.events import CancelToken
from napari_cellama.core.forward import encoded
from napari_cellama.core.loaded_model import PROBES


def attended(scale=1.0, mask=None, grad=False, **more):
    """Return what ours gives and what attention is, computed in float64."""
    import torch

    rng = torch.Generator().manual_seed(0)
    parts = [torch.randn(3, 11, 4, 8, generator=rng) for _ in range(3)]
    query, key, value = (part.bfloat16().transpose(1, 2) for part in parts)
    with torch.set_grad_enabled(grad):
        out, weights = cpu_attention.attend(
            torch.nn.Module(), query, key, value, mask, scaling=scale, **more
        )
    assert weights is None
    assert out.shape == (3, 11, 4, 8)
    scores = scale * query.double() @ key.double().transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    true = torch.softmax(scores, -1) @ value.double()
    return out.double().numpy(), true.transpose(1, 2).numpy()


@pytest.fixture
def plain_calls(monkeypatch):
    """Whether each call was computed here."""
    calls = []
    really = cpu_attention._is_plain

    def noted(*arguments):
        calls.append(really(*arguments))
        return calls[-1]

    monkeypatch.setattr(cpu_attention, "_is_plain", noted)
    return calls


@pytest.mark.parametrize("scale", [0.3, 1.0, 40.0, 1000.0])
def test_it_is_attention_however_large_the_scores(scale, plain_calls):
    ours, true = attended(scale)
    assert plain_calls == [True]
    # bfloat16 has 8 bits, and scores of hundreds have errors of units.
    tolerance = 0.03 if scale <= 1 else 3.0
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours, true, atol=tolerance)


def test_hidden_tokens_are_not_looked_at(plain_calls):
    import torch

    mask = torch.ones(3, 1, 11, 11, dtype=torch.bool)
    mask[1, ..., 6:] = False
    ours, true = attended(0.4, mask)
    assert plain_calls == [True]
    np.testing.assert_allclose(ours, true, atol=0.03)


def test_what_it_does_not_know_goes_to_pytorch(plain_calls):
    attended(0.4, grad=True)
    attended(0.4, is_causal=False, sliding_window=4)
    assert plain_calls == [False, False]


def test_a_model_takes_it_and_gives_the_same_vectors(bundled, sentences, plain_calls):
    encoder = SentenceEncoder(bundled.path, device="cpu", dtype="bfloat16")
    encoder.load(CancelToken())
    assert encoder._model.copies[0][0].auto_model.config._attn_implementation == cpu_attention.NAME
    plain_calls.clear()
    ours = encoded(encoder._model.copies[0], sentences)
    assert plain_calls
    assert all(plain_calls)
    cpu_attention.uninstall(encoder._model.copies[0])
    theirs = encoded(encoder._model.copies[0], sentences)
    assert len(plain_calls) == 6
    assert (ours * theirs).sum(axis=1).min() > 0.999


def test_attention_that_is_not_the_models_is_taken_out_again(bundled, monkeypatch):
    import torch

    monkeypatch.setattr(
        cpu_attention, "attend", lambda module, query, *rest, **more: (query.transpose(1, 2), None)
    )
    encoder = SentenceEncoder(bundled.path, device="cpu", dtype="bfloat16")
    encoder.load(CancelToken())
    assert encoder._model.copies[0][0].auto_model.config._attn_implementation == "sdpa"
    with torch.inference_mode():
        assert np.isfinite(encoded(encoder._model.copies[0], PROBES)).all()


TINY = {"vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 2}
CONFIGS = {
    "BertConfig": {"num_attention_heads": 4, "intermediate_size": 64},
    "DistilBertConfig": {"vocab_size": 30522, "dim": 32, "n_layers": 2, "n_heads": 4},
    "MPNetConfig": {"num_attention_heads": 4, "intermediate_size": 64},
    "ModernBertConfig": {
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "local_attention": 8,
        "pad_token_id": 0,
    },
}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_models_keep_their_pooling_prompts_and_meaning(
    kind, dtype, bundled, sentences, tmp_path
):
    """A small model of random weights, pooled by its first token, with a prompt of its own."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer, models

    torch.manual_seed(0)
    own = CONFIGS[kind]
    config = getattr(transformers, kind)(**(own if "dim" in own else TINY | own))
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "bare")
    transformers.AutoTokenizer.from_pretrained(bundled.path).save_pretrained(tmp_path / "bare")
    words = models.Transformer(str(tmp_path / "bare"), max_seq_length=64)
    pooling = models.Pooling(32, pooling_mode="cls")
    theirs = SentenceTransformer(
        modules=[words, pooling],
        device="cpu",
        prompts={"passage": "Describe: "},
        default_prompt_name="passage",
    )
    theirs.save(str(tmp_path / "model"))
    expected = theirs.encode(sentences, normalize_embeddings=True)
    encoder = SentenceEncoder(tmp_path / "model", device="cpu", dtype=dtype)
    assert encoder.load(CancelToken()).dim == 32
    ours = np.full_like(expected, np.nan)
    for rows, vectors in encoder.encode(sentences, CancelToken()):
        ours[rows] = vectors
    np.testing.assert_allclose(ours, expected, atol=1e-4 if dtype == "float32" else 0.05)


def test_float32_keeps_its_own(bundled):
    encoder = SentenceEncoder(bundled.path, device="cpu", dtype="float32")
    encoder.load(CancelToken())
    assert encoder._model.copies[0][0].auto_model.config._attn_implementation == "sdpa"
