"""What the manifest offers napari: readers, writers and sample data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from napari_cellama.errors import UserError
from napari_cellama.ui.layers import layer_data, tissue_of_metadata
from napari_cellama.ui.tissue import Tissue

LayerData = tuple[Any, dict[str, Any], str]
T = TypeVar("T")


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return the reader of a path that holds an AnnData; ``None`` leaves it to other plugins."""
    from napari_cellama.io.readers import is_anndata

    if not isinstance(path, str) or not is_anndata(path):
        return None
    return _read_or_say


def _read_or_say(path: str) -> list[LayerData]:
    """Read a section that the user opened; where that cannot be, say why in one sentence.

    What a reader raises, napari wraps in sentences of its own about plugins and stack traces. In a
    script, where no window is at work, it is raised all the same.
    """
    from napari.utils.notifications import show_error
    from qtpy.QtCore import QThread

    try:
        return read_layers(path)
    except UserError as error:
        if QThread.currentThread().loopLevel() == 0:
            raise
        show_error(str(error))
        return [(None,)]  # what napari takes for "read, and nothing to show"


def read_layers(path: str) -> list[LayerData]:
    """Read what the window draws of an AnnData; the session reads the genes afterwards.

    Raises
    ------
    UserError
        When the file or its positions cannot be used, in one sentence.
    """
    return _shown(open_tissue(path))


def _shown(tissue: Tissue) -> list[LayerData]:
    """Return a tissue's layers, for a viewer that has a session to take them in.

    Without one there would be no scale bar, and clicks would do nothing, until a dock is opened.
    """
    import napari

    from napari_cellama.ui.attach import session_of

    data = layer_data(tissue)
    if (viewer := napari.current_viewer()) is not None:
        session_of(viewer)
    return data


def open_tissue(path: str | Path) -> Tissue:
    """Read an AnnData's positions, obs and uns as a tissue whose matrix is still to come.

    Raises
    ------
    UserError
        When the file cannot be read, in one sentence.
    """
    from napari_cellama.io.readers import read_light

    light = read_light(path)
    return Tissue(_name_of(light.path), light.adata, source=light.path, has_matrix=False)


def write_layers(path: str, layers: list[LayerData]) -> list[str]:
    """Write the section that a points layer shows, with every result in its slot.

    Parameters
    ----------
    path
        Ending in ``.h5ad`` or ``.zarr``. What is there is replaced: napari has asked.
    layers
        One points layer of a section's cells; images beside it are part of the section anyway.

    Raises
    ------
    NotSaved
        When no layer shows a section, its genes are still being read, or the path cannot be
        written; in one sentence.
    """
    from napari_cellama.io.writers import write
    from napari_cellama.ui.session import Session

    tissues = [tissue_of_metadata(attributes.get("metadata")) for _, attributes, _ in layers]
    tissue = next((tissue for tissue in tissues if tissue is not None), None)
    if tissue is None:
        raise NotSaved(
            "None of the selected layers shows the cells of a section, so that there is no "
            "AnnData to save; select the points of one that was opened with CELLama."
        )
    try:
        Session.need_matrix(tissue)
        written = write(tissue.assemble(), path, overwrite=True)
    except UserError as error:
        raise NotSaved(str(error)) from error
    tissue.saved = True
    return [str(written)]


class NotSaved(RuntimeError):
    """Says in one sentence why nothing was saved.

    Not a :class:`UserError`, because napari takes any ``ValueError`` of a writer for "there is no
    such plugin" and warns of that instead.
    """


def sample_tissue() -> list[LayerData]:
    """Make the sample tissue: 20,000 cells with known niches, and its images."""
    from napari_cellama import sample

    adata = _in_background(lambda _: sample.tissue(), "Making the sample tissue")
    return _shown(Tissue("sample tissue", adata))


def sample_merfish() -> list[LayerData]:
    """Open squidpy's MERFISH section."""
    return _downloaded("merfish")


def sample_seqfish() -> list[LayerData]:
    """Open squidpy's seqFISH section."""
    return _downloaded("seqfish")


def sample_slideseqv2() -> list[LayerData]:
    """Open squidpy's Slide-seqV2 section."""
    return _downloaded("slideseqv2")


def sample_visium_hne() -> list[LayerData]:
    """Open squidpy's Visium section with its image."""
    return _downloaded("visium_hne")


def _downloaded(name: str) -> list[LayerData]:
    """Fetch one of squidpy's sections, unless that was done before, and read it."""
    from napari_cellama.io.samples import fetch_sample

    path = _in_background(lambda report: fetch_sample(name, report), f"Downloading {name}")
    tissue = open_tissue(path)
    tissue.name = name
    return _shown(tissue)


def _in_background(work: Callable[[Callable[[int, int], None]], T], title: str) -> T:
    """Do something in a thread and wait for it, with the window painted and progress shown.

    napari wants a sample's layers from the call itself, so it cannot be a job; the window takes
    no clicks meanwhile, because they could open the next sample inside this one.

    Parameters
    ----------
    work
        Called in the thread with a ``report(done, total)`` that it may call from there.
    title
        What napari's activity dock says.
    """
    from concurrent.futures import ThreadPoolExecutor

    from napari.utils import progress
    from qtpy.QtCore import QEventLoop
    from qtpy.QtWidgets import QApplication

    reached = [0, 0]

    def report(done: int, total: int) -> None:
        reached[:] = done, total

    application = QApplication.instance()
    with ThreadPoolExecutor(1) as threads, progress(total=0, desc=title) as bar:
        future = threads.submit(work, report)
        while not future.done():
            if application is not None:
                flags = QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents
                application.processEvents(flags, 50)
            _wait(future, 0.05)
            done, total = reached
            if total and bar.total != total:
                bar.reset(total=total)
            bar.update(done - bar.n)
        return future.result()


def _wait(future: Any, seconds: float) -> None:
    from concurrent.futures import wait

    wait([future], timeout=seconds)


def _name_of(path: Path) -> str:
    """Return what users call a file; a table of a SpatialData store has its store's name."""
    if path.parent.name == "tables":
        return f"{path.parent.parent.stem} {path.stem}"
    return path.stem
