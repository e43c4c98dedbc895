"""What an earlier run predicted, for one that differs from it only in what comes afterwards.

Another neighbourhood, number of niches or clustering changes no sentence, so that a prediction of
the same landmarks' sentences is the same, too. It is taken over from a result that is still in
memory; nothing of the outcome depends on whether it was.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from napari_cellama.core.events import Partial, Progress
from napari_cellama.core.finding import Finder
from napari_cellama.core.pictures import Pictures
from napari_cellama.core.refinement import Refined
from napari_cellama.core.result import NicheResult
from napari_cellama.core.slots import recipe_of

#: What a prediction depends on besides the sentences and the model.
_FIELDS = ("seed", "n_landmarks")
_RECORDS = ("data_sha256", "encoder")


def predictions_of(
    earlier: Sequence[NicheResult], finder: Finder, record: Mapping[str, Any]
) -> NicheResult | None:
    """Return the earlier result whose predictions a run would make again, if there is one.

    Parameters
    ----------
    earlier
        Results of runs on the same data.
    finder
        Of the run; its recipe is resolved.
    record
        The run's provenance: what was read of the data, and the model.
    """
    if finder.recipe.mode == "exact":
        return None
    for result in earlier:
        before = result.provenance
        if (
            result.held_out is not None
            and not before.get("preliminary")
            and all(before.get(name) == record.get(name) for name in _RECORDS)
            and all(getattr(recipe_of(result), f) == getattr(finder.recipe, f) for f in _FIELDS)
            # Landmarks cover the types, which sentences need not name.
            and finder.tissue.types.equals(result.types)
        ):
            return result
    return None


def taken_over(
    known: NicheResult, finder: Finder, pictures: Pictures
) -> Generator[Progress | Partial, None, Refined]:
    """Yield a picture on an earlier run's embeddings, and return them."""
    held_out = known.held_out
    n = held_out.n_exact
    yield Progress("Embedding", n, n, "sentences", cached=n)
    space = yield from finder.place(known.views)
    picture = pictures.paint(known.views, space, held_out)
    yield Partial(picture)
    decided = known.provenance.get("mode_chosen")
    choice = {} if decided is None else {"mode_chosen": decided}
    return Refined(known.views, picture, choice)
