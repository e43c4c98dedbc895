"""How the docks look: one style sheet, in the colours of napari's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.theme import get_theme, template
from qtpy.QtWidgets import QWidget

from napari_cellama.ui.widgets.listen import heed

if TYPE_CHECKING:
    import napari

_SHEET = """
QLabel#groupTitle { color: {{ opacity(text, 150) }}; padding-top: 2px; }
QLabel#remark, QLabel#muted { color: {{ opacity(text, 165) }}; font-size: {{ font_size }}; }
QFrame#preview { background-color: {{ console }}; border-radius: 4px; }
QFrame#preview QLabel { background-color: transparent; font-size: {{ font_size }}; }
QPushButton#primary { background-color: {{ current }}; padding: 6px; }
QPushButton#primary:hover { background-color: {{ lighten(current, 12) }}; }
QPushButton#primary:disabled { background-color: {{ primary }}; color: {{ opacity(text, 110) }}; }
QPushButton#secondary { padding: 6px; }
RecipeForm QAbstractSpinBox { min-width: 48px; }
QPushButton#columns { text-align: left; padding: 4px 20px 4px 8px; }
QPushButton#columns::menu-indicator {
  image: url("theme_{{ id }}:/drop_down_50.svg"); width: 14px; height: 14px;
  subcontrol-origin: padding; subcontrol-position: center right; right: 6px;
}
QPushButton#menu { padding: 6px 16px 6px 4px; }
QPushButton#menu::menu-indicator {
  image: url("theme_{{ id }}:/drop_down_50.svg"); width: 10px; height: 10px;
  subcontrol-origin: padding; subcontrol-position: center right; right: 4px;
}
QPushButton#fold {
  background-color: transparent; color: {{ opacity(text, 150) }}; padding: 2px 4px;
}
QPushButton#link {
  background-color: transparent; text-decoration: underline; padding: 0 2px;
  font-size: {{ font_size }};
}
QPushButton#link:disabled { border: 0; }
QPushButton#link:hover { color: {{ opacity(text, 165) }}; }
QProgressBar#thin { border: 0; border-radius: 3px; background-color: {{ primary }}; }
QProgressBar#thin::chunk { border-radius: 3px; background-color: {{ current }}; }
QLabel#overlay {
  background-color: {{ opacity(background, 190) }}; color: {{ opacity(text, 190) }};
  padding: 1px 4px; font-size: {{ font_size }};
}
QLabel#keys {
  background-color: {{ foreground }}; color: {{ text }}; border: 1px solid {{ secondary }};
}
QFrame#message { background-color: {{ foreground }}; border-left: 3px solid {{ secondary }}; }
QFrame#message[level="warning"] { border-left-color: {{ warning }}; }
QFrame#message[level="error"] { border-left-color: {{ error }}; }
QFrame#message QLabel { background-color: transparent; }
QFrame#message QPlainTextEdit { background-color: {{ console }}; font-size: {{ font_size }}; }
"""


def follow_theme(widget: QWidget, viewer: napari.Viewer) -> None:
    """Style a dock by the viewer's theme, now and whenever the theme changes."""

    def apply() -> None:
        theme = get_theme(viewer.theme)
        widget.setStyleSheet(template(_SHEET, **theme.to_rgb_dict()))

    apply()
    heed(widget, viewer.events.theme, apply)
