"""Which sentences a language model embeds together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn

#: Tokens a batch. On a CPU a batch must not last long, so that Cancel is heard in time.
CPU_BATCH, GPU_BATCH = 4096, 65536
#: A model of this many parameters does a full batch; larger ones take smaller batches on a CPU.
CPU_BATCH_PARAMETERS = 25e6


def batch_tokens(model: nn.Module, device: str) -> int:
    """Return tokens a batch; from the model's size, not the clock, so that runs repeat."""
    if device != "cpu":
        return GPU_BATCH
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return max(1, min(CPU_BATCH, int(CPU_BATCH * CPU_BATCH_PARAMETERS / max(parameters, 1))))


def batch_end(lengths: np.ndarray, start: int, budget: int) -> int:
    """Return where a batch ends that begins at ``start``.

    Parameters
    ----------
    lengths
        (n,) int64, the sentences' tokens, descending.
    start
        The batch's first sentence.
    budget
        Tokens that a batch may have, padding included; one sentence always goes.

    Returns
    -------
    int
        After all sentences of the first one's length that fit, which need no padding; or after
        a quarter of the budget, where there are fewer, as small batches are slow.
    """
    longest = int(lengths[start])
    same = int(np.searchsorted(-lengths, -longest, side="right"))
    most, enough = (start + max(1, part // longest) for part in (budget, budget // 4))
    return min(most, max(same, enough), len(lengths))
