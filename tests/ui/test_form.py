"""The form is the Recipe: every field, both ways, and those that are added later."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QApplication, QComboBox, QLineEdit

from napari_cellama.errors import UserError
from napari_cellama.recipe import Recipe
from napari_cellama.ui.widgets.form import RecipeForm, label_of

#: A value other than the default for every field of the Recipe.
OTHER = {
    "cell_type_key": "celltype",
    "library_key": None,
    "leave_out_failed": False,
    "n_neighbors": 7,
    "radius": 12.3456,
    "neighbors_in": "sentence",
    "n_top_genes": 30,
    "obs_features": ("area", "sample"),
    "model": "/some/where",
    "device": "cpu",
    "mode": "fast",
    "n_landmarks": 700,
    "n_clusters": 9,
    "clustering": "leiden",
    "n_runs": 5,
    "n_sentence_neighbors": 5,
    "niche_first": True,
    "n_components": 12,
    "n_hops": 3,
    "n_directions": 8,
    "layer": "raw",
    "use_existing_graph": True,
    "name_zero_genes": True,
    "neighbors_across_sections": True,
    "dtype": "float32",
    "seed": 2**31 - 1,
    "key_added": "other",
    "store_sentences": False,
    "store_embedding": "no",
}


class LaterRecipe(Recipe):
    """The Recipe after somebody has added fields of every kind."""

    smoothing: Annotated[float, Field(ge=0, le=1)] = Field(
        0.25,
        description="How much to smooth.",
        json_schema_extra={"group": "Niches", "label": "Smoothing"},
    )
    passes: Annotated[int, Field(ge=2, le=4)] = 3
    mood: Literal["calm", "bold"] = Field("calm", json_schema_extra={"group": "Mood"})
    ceiling: Annotated[int, Field(ge=1)] | None = None
    note: str = "none yet"
    also: tuple[str, ...] = Field((), json_schema_extra={"choices": "obs_columns"})


@pytest.fixture
def make_form(qtbot):
    made = []

    def make(recipe_type=Recipe):
        form = RecipeForm(recipe_type)
        made.append(form)
        form.resize(340, 900)
        form.show()
        return form

    yield make
    for form in made:
        form.close()
        form.deleteLater()
        QApplication.sendPostedEvents(form, QEvent.Type.DeferredDelete)


@pytest.fixture
def form(make_form):
    return make_form()


def test_the_form_starts_as_the_default_recipe(form):
    assert form.recipe() == Recipe()


def test_every_field_can_be_set_and_read(form):
    fields = {name for name in Recipe.model_fields if name != "schema_version"}
    assert set(OTHER) == fields, "OTHER must name every field"
    form.set_recipe(Recipe(**OTHER))
    assert form.recipe() == Recipe(**OTHER)
    form.set_recipe(Recipe())
    assert form.recipe() == Recipe()


@pytest.mark.parametrize("name", list(OTHER))
def test_each_editor_tells_of_its_change_once_it_is_there(form, qtbot, name):
    with qtbot.waitSignal(form.changed, timeout=1000):
        form.editors[name].value = OTHER[name]
    assert getattr(form.recipe(), name) == OTHER[name]


def test_a_field_that_is_added_later_appears_by_itself(make_form):
    form = make_form(LaterRecipe)
    labels = {label.text() for rows in form.groups.values() for label in rows.labels}
    assert {"Smoothing", "Passes", "Mood", "Ceiling", "Note", "Also"} <= labels
    assert form.editors["smoothing"].tooltip == "How much to smooth."
    assert (form.editors["passes"].min, form.editors["passes"].max) == (2, 4)
    assert list(form.groups)[-2:] == ["Mood", "Advanced"]
    assert form.recipe() == LaterRecipe()
    other = LaterRecipe(smoothing=0.125, passes=4, mood="bold", ceiling=6, note="x", also=("a",))
    form.set_recipe(other)
    assert form.recipe() == other


def test_typing_into_the_form_changes_the_recipe(form, qtbot):
    spin = form.editors["n_top_genes"].native
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, "42")
    qtbot.keyClick(spin, Qt.Key.Key_Tab)
    assert form.recipe().n_top_genes == 42
    qtbot.keyClicks(form.editors["clustering"].native, "Leiden")
    assert form.recipe().clustering == "leiden"


def test_a_number_or_auto(form, qtbot):
    editor = form.editors["n_clusters"]
    assert not editor.number.native.isVisible()
    qtbot.keyClick(editor.word.native, Qt.Key.Key_Down)
    assert editor.number.native.isVisible()
    editor.number.native.selectAll()
    qtbot.keyClicks(editor.number.native, "11\t")
    assert form.recipe().n_clusters == 11
    qtbot.keyClick(editor.word.native, Qt.Key.Key_Up)
    assert form.recipe().n_clusters == "auto"


def test_neighbours_are_counted_or_within_a_radius(form, qtbot):
    radius, count = form.editors["radius"], form.editors["n_neighbors"]
    form.suggest("radius", 31.5)
    assert count.native.isVisible()
    assert not radius.number.native.isVisible()
    qtbot.keyClick(radius.word.native, Qt.Key.Key_Down)
    assert not count.native.isVisible()
    assert radius.number.native.isVisible()
    assert form.recipe().radius == 31.5
    form.suggest("radius", 99.0)
    assert form.recipe().radius == 31.5, "what the user has chosen is not overwritten"


def test_columns_are_ticked_in_a_menu(form, qtbot):
    form.offer("obs_columns", [("area", "area"), ("sample (3)", "sample")])
    actions = {action.text(): action for action in form.editors["obs_features"].menu.actions()}
    actions["sample (3)"].trigger()
    actions["area"].trigger()
    assert form.recipe().obs_features == ("sample", "area")
    assert "sample, area" in form.editors["obs_features"].button.native.text()
    actions["sample (3)"].trigger()
    assert form.recipe().obs_features == ("area",)


def test_auto_becomes_what_it_means_here(form):
    assert form.recipe().cell_type_key == "auto"
    form.offer("cell_type_column", [("kind (3)", "kind"), ("none", None)], "kind")
    assert form.recipe().cell_type_key == "kind"
    form.set_recipe(Recipe())
    assert form.recipe().cell_type_key == "kind"


def test_the_choice_stays_with_other_data_if_it_can(form):
    form.offer("cell_type_column", [("a", "a"), ("b", "b"), ("none", None)], "a")
    form.editors["cell_type_key"].value = "b"
    form.offer("cell_type_column", [("c", "c"), ("b", "b"), ("none", None)], "c")
    assert form.recipe().cell_type_key == "b"
    form.offer("cell_type_column", [("c", "c"), ("none", None)], "c")
    assert form.recipe().cell_type_key == "c"


def test_a_recipe_of_other_data_keeps_its_column(form):
    form.offer("cell_type_column", [("a", "a"), ("none", None)], "a")
    form.set_recipe(Recipe(cell_type_key="elsewhere"))
    assert form.recipe().cell_type_key == "elsewhere"
    assert "not here" in form.editors["cell_type_key"].native.itemData(
        form.editors["cell_type_key"].native.currentIndex(), Qt.ItemDataRole.ToolTipRole
    )


def test_an_impossible_value_is_one_sentence(form):
    form.editors["key_added"].value = "a/b"
    with pytest.raises(UserError, match="key_added"):
        form.recipe()


def test_long_names_are_elided_and_whole_in_the_tooltip(form):
    name = "celltype_as_mapped_from_a_reference_with_a_very_long_name_v2"
    form.offer("cell_type_column", [(f"{name} (31)", name), ("none", None)], name)
    combo = form.editors["cell_type_key"].native
    assert "…" in combo.currentText()
    assert combo.fontMetrics().horizontalAdvance(combo.currentText()) < combo.width()
    assert combo.itemData(0, Qt.ItemDataRole.ToolTipRole) == f"{name} (31)"
    assert form.recipe().cell_type_key == name


def test_the_wheel_scrolls_the_dock_and_changes_nothing(form):
    spin = form.editors["n_neighbors"].native
    spin.clearFocus()
    wheel = QWheelEvent(
        QPointF(5, 5),
        QPointF(spin.mapToGlobal(QPoint(5, 5))),
        QPoint(0, 0),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(spin, wheel)
    assert form.recipe().n_neighbors == 20


def test_every_control_has_a_tooltip_and_every_field_a_label(form):
    controls = [
        control
        for kind in (QComboBox, QAbstractSpinBox, QLineEdit, QAbstractButton)
        for control in form.findChildren(kind)
        if not isinstance(control.parent(), QAbstractSpinBox | QComboBox)
    ]
    assert len(controls) > 20
    assert not [control for control in controls if not control.toolTip()]
    for name, field in Recipe.model_fields.items():
        if name in form.editors:
            assert label_of(name, field.json_schema_extra)


def test_the_tab_key_goes_from_top_to_bottom_and_not_into_the_fold(form, qtbot):
    first = form.editors["cell_type_key"].native
    form.activateWindow()
    first.setFocus()
    qtbot.waitUntil(first.hasFocus)
    before, seen = first, {first}
    for _ in range(9):
        qtbot.keyClick(before, Qt.Key.Key_Tab)
        widget = QApplication.focusWidget()
        assert widget.isVisible()
        assert widget not in seen
        down = middle(widget, form) - middle(before, form)
        assert down.y() > 5 or (abs(down.y()) <= 5 and down.x() > 0)
        before = widget
        seen.add(widget)


def middle(widget, form):
    return widget.mapTo(form, widget.rect().center())


def test_the_fold_opens_to_the_advanced_fields(form, qtbot):
    seed = form.editors["seed"].native
    assert not seed.isVisible()
    qtbot.mouseClick(form.advanced.toggleButton(), Qt.MouseButton.LeftButton)
    assert seed.isVisible()
    qtbot.mouseClick(form.advanced.toggleButton(), Qt.MouseButton.LeftButton)
    assert not seed.isVisible()
