"""Write docs/recipe.md, the table of every parameter, from the Recipe's own fields.

    python scripts/recipe_page.py [--check]

With ``--check`` nothing is written; the exit code is 1 if the page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from napari_cellama.recipe import GROUPS, Recipe

PAGE = Path(__file__).parents[1] / "docs" / "recipe.md"

HEAD = """# The recipe

Everything that changes a result is a parameter of the recipe. The Niches dock's form, the options
of `napari-cellama run` and this page are generated from the same fields. The recipe of a run is
stored with its result in `uns['cellama']`; *Save recipe…* in the dock and
`napari-cellama recipe > recipe.json` write one as JSON, and `--recipe recipe.json`,
`Recipe.from_file("recipe.json")` and *Load recipe…* read it back.
"""


def page() -> str:
    """Return the page's text."""
    lines = [HEAD]
    for group in GROUPS:
        lines += [
            f"## {group}",
            "",
            "| parameter | in the dock | default | |",
            "| --- | --- | --- | --- |",
        ]
        for name, field in Recipe.model_fields.items():
            extra = field.json_schema_extra or {}
            if extra.get("group") != group:
                continue
            default = "none" if field.default is None else str(field.default).lower()
            default = "(none)" if field.default == () else default
            if isinstance(field.default, str):
                default = field.default
            lines.append(f"| `{name}` | {extra['label']} | {default} | {field.description} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Write or check the page."""
    if "--check" in sys.argv[1:]:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
