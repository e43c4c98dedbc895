"""The one table of what can be done by key, button and menu; docs and help are made of it.

An action says in words what it does, acts on the session, and says why it cannot when it cannot.
Those that need a widget (a name's editor, a colour dialog) are the widget's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cellama.core.labels import made_up_of
from napari_cellama.ui.selection import How, Tool

if TYPE_CHECKING:
    from napari_cellama.ui.session import Session


@dataclass(frozen=True)
class Action:
    """Something that a user can do with the open tissue.

    Attributes
    ----------
    id
        Its name in code.
    text
        What buttons and menus say.
    tip
        What it does, in one sentence.
    key
        A key as napari writes it ("Control-Z"); "" where it has none.
    act
        Does it.
    why_not
        Returns why it cannot be done now; "" where it can.
    """

    id: str
    text: str
    tip: str
    key: str
    act: Callable[[Session], object]
    why_not: Callable[[Session], str]

    @property
    def key_text(self) -> str:
        """The key as people read it, e.g. "Ctrl+Z"."""
        return self.key.replace("Control", "Ctrl").replace("Escape", "Esc").replace("-", "+")

    def hint(self, session: Session) -> str:
        """Return a tooltip: why it cannot be done, or what it does and by which key."""
        key = f" ({self.key_text})" if self.key else ""
        return self.why_not(session) or f"{self.tip}{key}"


def selected_clusters(session: Session) -> list[int]:
    """Return the clusters that the selection is made up of; none where it is something else."""
    tissue, labels = session.active, session.clusters
    return [] if labels is None else made_up_of(labels, tissue.selection)


def step_through(session: Session, steps: int) -> None:
    """Select the next (or, by -1, the previous) cluster that has cells, round and round."""
    labels = session.clusters
    leaves = [i for i, size in enumerate(labels.sizes) if size]
    chosen = selected_clusters(session)
    if not chosen:
        target = leaves[0 if steps > 0 else -1]
    else:
        edge = max(chosen) if steps > 0 else min(chosen)
        family = labels.family(edge)
        later = [i for i in leaves if i > family[-1]] if steps > 0 else []
        earlier = [i for i in leaves if i < edge]
        if steps > 0:
            target = later[0] if later else leaves[0]
        else:
            target = earlier[-1] if earlier else leaves[-1]
    session.select(labels.mask(target), name=f"Select {labels.names[target]}")


def _toggle(tool: Tool) -> Callable[[Session], None]:
    return lambda session: session.take_tool("pick" if session.tool == tool else tool)


def _leave(session: Session) -> None:
    """Put the tool away, or else select nothing."""
    if session.tool != "pick":
        session.take_tool("pick")
    elif session.active is not None and session.active.selection.any():
        session.select(session.active.selection & False)


def _ask_for_view(how: How) -> Callable[[Session], None]:
    """Return what asks for the cells in view, which only the canvas knows."""
    return lambda session: session.view_asked.emit(how)


# ---- why not


def _no_tissue(session: Session) -> str:
    return "Open a tissue first." if session.active is None else ""


def _no_clusters(session: Session) -> str:
    if session.active is not None and session.clusters is None:
        return "No clusters are shown; choose some under Labels."
    return _no_tissue(session)


def _no_cells(session: Session) -> str:
    labels = session.clusters
    if labels is not None and not labels.sizes.any():
        return "No cell has a label."
    return _no_clusters(session)


def _no_selection(session: Session) -> str:
    if session.active is not None and not session.active.selection.any():
        return "No cell is selected; click a cluster or draw a lasso first."
    return _no_tissue(session)


def _no_selection_or_clusters(session: Session) -> str:
    return _no_clusters(session) or _no_selection(session)


def _no_pair(session: Session) -> str:
    if why := _no_clusters(session):
        return why
    labels, chosen = session.clusters, selected_clusters(session)
    several = len(chosen) > 1 or any(labels.is_group[i] for i in chosen)
    return "" if several else "Select two or more whole clusters to merge them."


def _no_undo(session: Session) -> str:
    if session.active is not None and session.active.history.undo_name is None:
        return "There is nothing to undo."
    return _no_tissue(session)


def _no_redo(session: Session) -> str:
    if session.active is not None and session.active.history.redo_name is None:
        return "There is nothing to do again."
    return _no_tissue(session)


def _nothing_hidden(session: Session) -> str:
    if session.active is not None and not session.active.hidden.any():
        return "No cell is hidden."
    return _no_tissue(session)


def _no_subclusters(session: Session) -> str:
    return session.dividing.why_not()


ACTIONS: tuple[Action, ...] = (
    Action("undo", "Undo", "Take the last step back.", "Control-Z",
           lambda session: session.undo(), _no_undo),
    Action("redo", "Redo", "Do again what was taken back.", "Control-Shift-Z",
           lambda session: session.redo(), _no_redo),
    Action("next", "Next cluster", "Select the next cluster.", "N",
           lambda session: step_through(session, 1), _no_cells),
    Action("previous", "Previous cluster", "Select the cluster before.", "Shift-N",
           lambda session: step_through(session, -1), _no_cells),
    Action("lasso", "Lasso", "Draw around cells on the tissue to select them; hold Shift to add, "
           "Ctrl to take away, both to keep what is in common.", "L", _toggle("lasso"), _no_tissue),
    Action("rectangle", "Rectangle", "Drag a rectangle over cells on the tissue to select them; "
           "Shift and Ctrl work as with the lasso.", "R", _toggle("rectangle"), _no_tissue),
    Action("leave", "Select nothing", "Put the lasso away; without one, select nothing and show "
           "all cells alike.", "Escape", _leave, _no_tissue),
    Action("subcluster", "Subcluster", "Divide the selected cells by their own surroundings.", "D",
           lambda session: session.dividing.start(), _no_subclusters),
    Action("merge", "Merge", "Make one cluster of the selected ones; the largest gives it its name "
           "and colour.", "M",
           lambda session: session.editing.merge(selected_clusters(session)), _no_pair),
    Action("new", "New cluster", "Put the selected cells into a cluster of their own.", "K",
           lambda session: session.editing.new_cluster(), _no_selection_or_clusters),
    Action("isolate", "Isolate", "Draw the selected cells only; a second time, all again.", "I",
           lambda session: session.editing.isolate(), _no_selection),
    Action("hide", "Hide", "Draw the selected cells no longer.", "H",
           lambda session: session.editing.hide(), _no_selection),
    Action("show", "Show hidden", "Draw the hidden cells again.", "Shift-H",
           lambda session: session.editing.show_hidden(), _nothing_hidden),
    Action("flag", "Flag", "Flag the selected cells, or take their flags away where all have one; "
           "flags are saved in obs['flag'].", "F",
           lambda session: session.editing.flag(), _no_selection),
    Action("in_view", "Select what is in view", "Select the cells that the canvas, or the map, "
           "shows: zoom in first.", "E", _ask_for_view("replace"), _no_tissue),
    Action("add_in_view", "Add what is in view", "Add the cells in view to the selection.",
           "Shift-E", _ask_for_view("add"), _no_tissue),
    Action("take_in_view", "Take away what is in view", "Take the cells in view out of the "
           "selection.", "Alt-E", _ask_for_view("subtract"), _no_tissue),
)  # fmt: skip

#: What becomes of the selection by each action on what is in view; on the map they mean the map's.
IN_VIEW: dict[str, How] = {
    "in_view": "replace",
    "add_in_view": "add",
    "take_in_view": "subtract",
}

#: The keys of one dock alone, as people read them, and what they do.
TABLE_KEYS = (
    ("F2, C", "rename, recolour a row"),
    ("←, →", "fold, unfold a row's parts"),
    ("Alt+↑, Alt+↓", "move a row"),
)
MAP_KEYS = (
    ("←, →, ↑, ↓", "move"),
    ("+, -", "zoom in, out"),
    ("0", "show the whole map"),
)

BY_ID = {action.id: action for action in ACTIONS}
BY_KEY = {action.key_text: action for action in ACTIONS if action.key}


def bind_keys(viewer: object, session: Session) -> None:
    """Give a viewer's canvas the actions' keys; napari lists them under its own shortcuts' rules.

    A key does nothing, but for saying why, where its action cannot be done.
    """
    for action in ACTIONS:
        if action.key:
            viewer.bind_key(action.key, _handler(session, action), overwrite=True)


def perform(session: Session, action: Action) -> None:
    """Do an action, or tell the user why it cannot be done."""
    from napari_cellama.errors import UserError

    why = action.why_not(session)
    if not why:
        try:
            action.act(session)
        except UserError as error:
            why = str(error)
    if why:
        session.message.emit("info", why, "")


def _handler(session: Session, action: Action) -> Callable[[object], None]:
    def press(viewer: object) -> None:
        perform(session, action)

    press.__doc__ = f"CELLama: {action.text}. {action.tip}"
    press.__name__ = f"cellama_{action.id}"
    return press


def keys_table() -> str:
    """Return the keys as a Markdown table, for the docs."""
    rows = [f"| `{one.key_text}` | {one.text} | {one.tip} |" for one in ACTIONS if one.key]
    return "\n".join(["| key | | what it does |", "| --- | --- | --- |", *rows])


def map_keys_table() -> str:
    """Return the keys of the map alone as a Markdown table, for the docs."""
    rows = [f"| `{keys}` | {text} |" for keys, text in MAP_KEYS]
    return "\n".join(["| key | what it does |", "| --- | --- |", *rows])
