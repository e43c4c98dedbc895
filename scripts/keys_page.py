"""Write docs/keys.md, the table of keys, from the one table of actions.

    python scripts/keys_page.py [--check]

With --check nothing is written, and the exit code is 1 if the page is not up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from napari_cellama.ui.actions import keys_table, map_keys_table

PAGE = Path(__file__).parents[1] / "docs" / "keys.md"


def page() -> str:
    """Return the page as Markdown."""
    return f"""# Keys

Written by `make docs` from the table that napari, the buttons and the key *?* in every dock
use too.

## On the tissue and in the table of clusters

{keys_table()}

napari's own keys go on working: Space holds the canvas for moving, 2 to 5 are the layer's modes.

## With the mouse on the tissue

| mouse | what it does |
| --- | --- |
| click a cell | select its cluster, and ring the cell |
| Shift + click | add its cluster to the selection |
| Ctrl + click | take its cluster out of the selection |
| drag, with the lasso or the rectangle in hand | select the cells inside; with Shift they are \
added, with Ctrl taken away, with both only what is in common stays |

## In the table of clusters alone

| key | what it does |
| --- | --- |
| `F2`, double click | rename |
| `C`, click on the swatch | choose another colour |
| `Up`, `Down` | select the row above or below |
| `Left`, `Right` | fold or unfold a cluster's parts |
| `Alt+Up`, `Alt+Down` | move the cluster in its own order |
| menu key, right click | everything above, and assign, sort, fold all |

## On the map of the Embedding dock

All keys of the tissue work there, too; what is in view is then what is seen of the map.

{map_keys_table()}
"""


def main() -> int:
    """Write the page, or check it."""
    text = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
