"""The two ways a job ends early that are not faults of the program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


class UserError(ValueError):
    """Input that cannot be used; the message is one sentence: what, where and what to do.

    The window shows it inline, the command line prints it and exits with 2.
    """


class Cancelled(Exception):
    """The user cancelled; what was done so far is kept by whoever asked for it."""


def need_anndata(adata: Any, call: str) -> None:
    """Refuse what is no AnnData, and one in which our own record is somebody else's.

    Parameters
    ----------
    adata
        What a user has given.
    call
        The function that it was given to.

    Raises
    ------
    UserError
        In one sentence that says what to give instead.
    """
    if not hasattr(adata, "obsm") or not hasattr(adata, "n_obs"):
        raise UserError(
            f"{call}() takes an AnnData, not a {type(adata).__name__}; read a file first, as in "
            f"{call}(read('section.h5ad'))."
        )
    record = adata.uns.get("cellama", {})
    if not isinstance(record, Mapping):
        raise UserError(
            f"uns['cellama'] holds a {type(record).__name__} that was not written here; give it "
            "another name, because what is found is kept there."
        )


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that is not among those known, with the close matches.

    Parameters
    ----------
    kind
        What was looked for, in the user's words, e.g. ``"obs column"``.
    name
        The name that was not found.
    known
        The names that exist.
    """
    name, known = str(name), [str(item) for item in known]
    lowered = {item.lower(): item for item in known}
    close = [lowered[match] for match in get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    if close:
        advice = "did you mean " + " or ".join(repr(match) for match in close) + "?"
    elif known:
        listed = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
        advice = f"there are: {listed}."
    else:
        advice = "there are none."
    return UserError(f"There is no {kind} named {name!r}; {advice}")
