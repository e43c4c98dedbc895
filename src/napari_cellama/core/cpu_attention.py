"""Attention in bfloat16 on a processor, for sentences as short as ours.

PyTorch's fused attention is made for long texts: at 70 to 110 tokens and heads of 32 it takes
three to five times as long as the same arithmetic in four plain steps (products of matrices run
at full speed in bfloat16, a softmax does not), which is a quarter of a small model's whole time.
Here the exponentials are multiplied with the values first and their sums divided out afterwards,
from an array that is as small as the output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

NAME = "cellama_short"
#: Scores within this need no row's maximum taken off before their exponentials are summed:
#: neither those nor their sums leave float32's range, which is bfloat16's as well.
SAFE_SCORE = 60.0
#: Longer sentences fill the processor's cache with scores, where the fused form is better.
MAX_TOKENS = 512


def install(model: nn.Module) -> bool:
    """Have every part of a model that takes PyTorch's own attention take this one.

    Returns
    -------
    bool
        Whether there is such a part. Where the installed transformers cannot exchange
        attention, there is none.
    """
    try:
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
    except ImportError:
        return False
    return _exchange(model, "sdpa", NAME)


def uninstall(model: nn.Module) -> None:
    """Take :func:`install` back."""
    _exchange(model, NAME, "sdpa")


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Return softmax(query @ key') @ value as transformers' models call for it.

    Parameters
    ----------
    module
        The attention layer.
    query, key, value
        (batch, heads, tokens, size of a head).
    attention_mask
        True where a token may be looked at; ``None`` where all may.
    scaling
        Of the scores; by default one over the root of a head's size.
    **rest
        What other forms of attention need; where it says something, PyTorch's own computes.

    Returns
    -------
    tuple
        (batch, tokens, heads, size of a head), and ``None`` for the weights.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if not _is_plain(module, query, key, attention_mask, rest):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **rest
        )
    batch, heads, tokens, size = query.shape
    scale = size**-0.5 if scaling is None else scaling
    query, key, value = (part.reshape(batch * heads, tokens, size) for part in (query, key, value))
    scores = torch.bmm(query * scale, key.transpose(1, 2))
    low, high = torch.aminmax(scores)
    safe = bool((low > -SAFE_SCORE) & (high < SAFE_SCORE))
    if attention_mask is not None:
        hidden = ~attention_mask.expand(batch, heads, tokens, tokens)
        scores.view(batch, heads, tokens, tokens).masked_fill_(hidden, -torch.inf)
    if safe:
        weights = scores.exp_()
        out = torch.bmm(weights, value) / weights.sum(-1, keepdim=True)
    else:
        out = torch.bmm(torch.softmax(scores, -1), value)
    return out.view(batch, heads, tokens, size).transpose(1, 2), None


def _is_plain(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    rest: dict[str, Any],
) -> bool:
    """Whether this is self-attention of a short text on a processor and nothing else."""
    import torch

    return (
        query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and query.shape == key.shape
        and query.shape[2] <= MAX_TOKENS
        and (mask is None or mask.dtype == torch.bool)
        and not (rest.get("is_causal") or getattr(module, "is_causal", False))
        and not rest.get("dropout")
        and not any(rest.get(name) is not None for name in ("position_bias", "sliding_window"))
        and not torch.is_grad_enabled()
    )


def _exchange(model: nn.Module, old: str, new: str) -> bool:
    changed = False
    for part in model.modules():
        config = getattr(part, "config", None)
        if hasattr(part, "set_attn_implementation") and (
            getattr(config, "_attn_implementation", None) == old
        ):
            part.set_attn_implementation(new)
            changed = True
    return changed
