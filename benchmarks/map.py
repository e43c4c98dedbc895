"""What the map of the Embedding dock costs at a million cells.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/map.py [--cells 1000000]

In a real window: a made-up section whose niches and map were saved with it, and the dock floating
beside the tissue. The mouse's events go to the map's own widget, one by one. Times are CPU time of
the window's thread from the event until nothing is left to do, the best of several; drawing, which
a GPU does in no time and software in seconds, is taken off and said apart. What napari does with
the tissue's colours is left out, too (benchmarks/interaction.py has it), and the tissue is not
drawn; the map's own colours are handed to vispy, which is counted.

- recolour: by another label set or gene, the map with it; with half of the cells selected, too;
- lasso: one of 500 corners on the map, from letting go of the mouse until the selection is painted
  in the tissue and on the map; and each step of the mouse while it is drawn;
- a step of dragging the map, of zooming by the wheel, and of the mouse over the cells;
- memory that the dock adds, with the map on it, against what a canvas of vispy's Markers with the
  same points and colours adds to such a window, in a process of its own.

The exit code is 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from os import environ
from typing import Any

import numpy as np

from event_loop import make_section
from interaction import Silenced

#: In seconds.
LIMITS = {
    "recolour by category": 0.3,
    "recolour by gene": 0.3,
    "recolour, half of it selected": 0.3,
    "lasso of 500 corners": 0.3,
    "step of drawing the lasso": 0.05,
    "select what is in view": 0.3,
    "click to picked cluster": 0.3,
    "step of dragging the map": 0.05,
    "step of zooming the map": 0.05,
    "step of hovering": 0.05,
}
#: Memory of the dock by that of a plain canvas. vispy keeps 60 bytes a point, and again on the GPU,
#: which software has in memory, too, with buffers of its own.
MOST_MEMORY = 1.25
CORNERS = 500


class Clock:
    """Times acts in this thread; what is drawn meanwhile is taken off and kept apart."""

    def __init__(self, window: Any) -> None:
        from qtpy.QtCore import QEvent
        from vispy.scene import SceneCanvas

        self.drawn: list[float] = []
        self._drawing, self._inside = 0.0, False
        self._take_off(SceneCanvas, "_draw_scene", lambda *_: True)
        # Qt puts canvases on the screen in an event of its own.
        updates = QEvent.Type.UpdateRequest
        self._take_off(type(window), "event", lambda _, event: event.type() == updates)

    def _take_off(self, owner: Any, name: str, is_drawing: Callable[..., bool]) -> None:
        """Count the calls of a method that draw as drawing, those inside another once."""
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside or not is_drawing(*args):
                return method(*args, **kwargs)
            self._inside, start = True, time.thread_time()
            try:
                return method(*args, **kwargs)
            finally:
                self._inside = False
                self._drawing += time.thread_time() - start

        setattr(owner, name, timed)

    def time(self, act: Callable[[], object]) -> float:
        """Return the seconds of an act and of what follows from it, without drawing."""
        settle()
        gc.collect()
        self._drawing, start = 0.0, time.thread_time()
        act()
        settle()
        took = time.thread_time() - start
        self.drawn.append(self._drawing)
        return took - self._drawing

    def best(self, acts: Iterator[Callable[[], object]]) -> float:
        """Return the least that one of some acts takes."""
        return min(self.time(act) for act in acts)


def settle() -> None:
    """Do all that is left to do."""
    from qtpy.QtWidgets import QApplication

    for _ in range(3):
        QApplication.processEvents()


def with_map(n_cells: int) -> Any:
    """Return a section as it is read from a file: with a run, its niches and their map."""
    import pandas as pd

    from napari_cellama.core.umap import put_layout
    from napari_cellama.recipe import Recipe

    adata = make_section(n_cells)
    rng = np.random.default_rng(1)
    niches = adata.obs["celltype"].cat.codes.to_numpy() // 2
    names = [f"Niche {i + 1}" for i in range(6)]
    adata.obs["niche"] = pd.Categorical.from_codes(niches, names)
    runs = {"niche": {"recipe": Recipe().to_json(), "slots": np.array(["obs/niche"], object)}}
    adata.uns["cellama"] = {**adata.uns["cellama"], "runs": runs}
    angle = niches * np.pi / 3
    middle = 8 * np.column_stack([np.cos(angle), np.sin(angle)])
    places = (middle + rng.normal(size=(n_cells, 2)) * 1.6).astype(np.float32)
    put_layout(adata, "niche", "X_niche_umap", places, 0)
    return adata


def resident() -> float:
    """Return the MiB that this process has in memory."""
    import psutil
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def open_dock(viewer: Any) -> Any:
    """Add the dock, floating, large enough for a lasso of that many corners."""
    from napari_cellama.ui.widgets.embedding import EmbeddingDock

    dock = EmbeddingDock(viewer)
    holder = viewer.window.add_dock_widget(dock, name="Embedding", area="left")
    settle()
    holder.setFloating(True)
    holder.setGeometry(40, 40, 760, 860)
    settle()
    assert dock.canvas.native.isVisible(), dock.empty.text()
    return dock


def open_plain(adata: Any) -> Any:
    """Show the same points as plain Markers, in a window of their own of that size."""
    from vispy.scene import PanZoomCamera, SceneCanvas
    from vispy.scene.visuals import Markers

    points = np.ascontiguousarray(adata.obsm["X_niche_umap"], np.float32)
    colors = np.random.default_rng(0).random((len(points), 4)).astype(np.float32)
    canvas = SceneCanvas(keys=None, size=(740, 760), show=True)
    view = canvas.central_widget.add_view()
    view.camera = PanZoomCamera(aspect=1)
    markers = Markers(parent=view.scene)
    markers.set_data(points, size=1.5, face_color=colors, edge_width=0, symbol="disc")
    view.camera.set_range()
    settle()
    canvas.render()  # whatever the window system has been too lazy to draw
    settle()
    return canvas


def plain_memory(n_cells: int) -> float:
    """Return the MiB that plain Markers add to such a window, in a process of its own."""
    call = [sys.executable, __file__, "--cells", str(n_cells), "--plain"]
    said = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    return float(said.split()[-1])


def print_plain(n_cells: int) -> int:
    """Print what plain Markers add."""
    with window(n_cells) as viewer:
        from napari_cellama.ui.attach import session_of

        session = session_of(viewer)
        session.show_clusters("niche")
        settle()
        before = resident()
        canvas = open_plain(session.active.snapshot)
        print(resident() - before)
        canvas.close()
    return 0


class Mouse:
    """Sends the map the events of a mouse."""

    def __init__(self, native: Any) -> None:
        self._native = native

    def press(self, place: np.ndarray, keys: Any = None) -> None:
        """Press the left button."""
        self._send("MouseButtonPress", place, keys, down=True)

    def move(self, place: np.ndarray, keys: Any = None, *, down: bool = True) -> None:
        """Move to a place, by default with the button down."""
        time.sleep(0.012)  # vispy takes no more than 100 moves a second
        self._send("MouseMove", place, keys, down=down)

    def release(self, place: np.ndarray, keys: Any = None) -> None:
        """Let go of the button."""
        self._send("MouseButtonRelease", place, keys, down=False)

    def wheel(self, place: np.ndarray, turns: int) -> None:
        """Turn the wheel."""
        from qtpy.QtCore import QPoint, QPointF, Qt
        from qtpy.QtGui import QWheelEvent
        from qtpy.QtWidgets import QApplication

        where, none = QPointF(*map(float, place)), Qt.MouseButton.NoButton
        still, phase = Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
        globally = QPointF(self._native.mapToGlobal(where.toPoint()))
        turn = QPoint(0, 120 * turns)
        event = QWheelEvent(where, globally, QPoint(), turn, none, still, phase, False)
        QApplication.sendEvent(self._native, event)

    def _send(self, kind: str, place: np.ndarray, keys: Any, *, down: bool) -> None:
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        where = QPointF(*map(float, place))
        globally = QPointF(self._native.mapToGlobal(where.toPoint()))
        button = none if kind == "MouseMove" else left
        event = QMouseEvent(
            getattr(QEvent.Type, kind), where, globally, button, left if down else none,
            keys or Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        QApplication.sendEvent(self._native, event)


def lobed(size: tuple[int, int], turn: float) -> np.ndarray:
    """Return the corners of a lasso, in pixels, around about half of the map."""
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    radius = min(size) * (0.28 + 0.05 * np.sin(9 * angle + turn))
    return np.array(size) / 2 + np.column_stack([radius * np.sin(angle), radius * np.cos(angle)])


def measure(session: Any, dock: Any, clock: Clock) -> dict[str, float]:
    """Return what the map's acts take, in seconds."""
    from qtpy.QtCore import Qt

    from napari_cellama.ui.tissue import Coloring

    tissue, canvas = session.active, dock.canvas
    mouse, size = Mouse(canvas.native), canvas._canvas.size
    found: dict[str, float] = {}

    def colourings(kind: str, names: list[str]) -> Iterator[Callable[[], object]]:
        for name in names:
            yield lambda name=name: session.color_by(Coloring(kind, name))

    genes = [str(gene) for gene in tissue.snapshot.var_names[:3]]
    sets = ["celltype", "niche"] * 2
    found["recolour by category"] = clock.best(colourings("labels", sets))
    found["recolour by gene"] = clock.best(colourings("gene", genes))
    session.select(np.random.default_rng(0).random(tissue.n_obs) < 0.5)
    found["recolour, half of it selected"] = clock.best(colourings("labels", sets))

    lassos, steps = [], []
    for turn in range(3):
        corners = lobed(size, turn)
        mouse.press(corners[0], Qt.KeyboardModifier.ShiftModifier)
        for corner in corners[1:-1]:
            mouse.move(corner, Qt.KeyboardModifier.ShiftModifier)
        last = corners[-1]
        steps.append(clock.time(partial(mouse.move, last, Qt.KeyboardModifier.ShiftModifier)))
        assert len(canvas._outline) > 0.97 * CORNERS, len(canvas._outline)
        before = tissue.selection
        lassos.append(clock.time(partial(mouse.release, last, Qt.KeyboardModifier.ShiftModifier)))
        assert tissue.selection is not before
    _check_both(session, dock)
    found["lasso of 500 corners"] = min(lassos)
    found["step of drawing the lasso"] = min(steps)

    from qtpy.QtTest import QTest

    in_view = lambda: QTest.keyClick(canvas.native, Qt.Key.Key_E)  # noqa: E731
    canvas.zoom(1.5)
    found["select what is in view"] = clock.best(iter([in_view]))
    canvas.show_all()

    def click(cell: int) -> None:
        place = canvas.pixel_of(cell)
        mouse.press(place)
        mouse.release(place)

    cells = [int(np.flatnonzero(session.clusters.codes == code)[3]) for code in range(3)]
    found["click to picked cluster"] = clock.best(lambda c=c: click(c) for c in cells)

    middle = np.array(size) / 2
    mouse.press(middle)
    found["step of dragging the map"] = clock.best(
        lambda i=i: mouse.move(middle + i) for i in range(1, 4)
    )
    mouse.release(middle + 4)
    found["step of zooming the map"] = clock.best(lambda: mouse.wheel(middle, 1) for _ in range(3))
    found["step of hovering"] = clock.best(
        lambda i=i: mouse.move(middle + 9 * i, down=False) for i in range(1, 4)
    )
    return found


def _check_both(session: Any, dock: Any) -> None:
    """Make sure that the selection that is timed is the one that is painted on the map."""
    tissue = session.active
    assert 0.1 < tissue.selection.mean() < 0.9, tissue.selection.mean()
    rgba = dock._layers.colors_of(tissue, dock.map.cells)
    np.testing.assert_array_equal(rgba[:, 3] == 1, tissue.selection[dock.map.cells])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--plain", action="store_true", help="print what plain Markers add")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        environ["NAPARI_CELLAMA_STATE"] = state  # nothing of this is lost work
        return print_plain(args.cells) if args.plain else run(args.cells)


@contextmanager
def window(n_cells: int) -> Iterator[Any]:
    """Open a window on such a section."""
    from napari_cellama.ui.launch import view

    viewer = view(with_map(n_cells), name="benchmark", docks=False)
    try:
        yield viewer
    finally:
        viewer.close()


def run(n_cells: int) -> int:
    """Print what everything takes; returns 1 where a limit is missed."""
    import platform

    from napari_cellama.ui import layers as layers_module
    from napari_cellama.ui.attach import layers_of, session_of
    from napari_cellama.ui.panel import main_window

    holds = True

    def say(name: str, value: float, limit: float, unit: str) -> None:
        nonlocal holds
        within = value <= limit
        holds &= within
        print(f"{'holds' if within else 'FAILS'}  {name:30s} {value:7.1f} {unit}, at most "
              f"{limit:.0f} {unit}", flush=True)  # fmt: skip

    with window(n_cells) as viewer:
        session = session_of(viewer)
        session.show_clusters("niche")
        settle()
        print(f"{n_cells:,} cells, {platform.processor() or platform.machine()}", flush=True)
        before = resident()
        dock = open_dock(viewer)
        added = resident() - before
        clock = Clock(main_window(viewer))
        layers_of(viewer).layer_of(session.active).visible = False
        settle()
        with Silenced(layers_module):
            found = measure(session, dock, clock)
        for name, seconds in found.items():
            say(name, seconds * 1000, LIMITS[name] * 1000, "ms")
        plain = plain_memory(n_cells)
        say("memory of the dock", added, MOST_MEMORY * plain, "MiB")
        print(f"       {added / plain:.2f} times the {plain:.0f} MiB of plain Markers")
        print(f"       drawing, in software where there is no GPU: median "
              f"{np.median(clock.drawn) * 1000:.0f} ms, longest {max(clock.drawn) * 1000:.0f} ms "
              "of this thread")  # fmt: skip
    print("holds" if holds else "FAILS")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
