# Everything a fresh machine needs: `make demo` and `make test`. Both install into .venv first.

# The first Python from 3.11 to 3.13 that is there; `make PYTHON=python3.12 …` names another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test lint format docs screenshots clean

help:
	@echo "make demo         install, then find the niches of the sample tissue and show them"
	@echo "make test         install what the tests need and run them"
	@echo "make lint         ruff and the import contracts"
	@echo "make docs         write the generated pages of docs/"
	@echo "make screenshots  drive the real window and write the README's pictures"

demo: $(VENV)/.installed
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ]; then scripts/system-packages qt; fi
	$(BIN)/napari-cellama demo

test: $(VENV)/.installed-test
	@scripts/system-packages qt xvfb
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-test
	$(BIN)/python scripts/recipe_page.py
	$(BIN)/python scripts/keys_page.py

screenshots: $(VENV)/.installed-test
	@scripts/system-packages qt xvfb
	$(BIN)/python -m pytest tests/ui/test_golden_path.py --screenshots docs/images

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.11, 3.12 or 3.13 is needed, and none was found on the PATH." >&2; exit 1; fi
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module is missing; on Debian: sudo apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing napari-cellama into $(VENV) (a few minutes the first time) …"
	$(PIP_INSTALL) -e ".[all]"
	@touch $@

$(VENV)/.installed-test: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing napari-cellama and its tests into $(VENV) (a few minutes the first time) …"
	$(PIP_INSTALL) -e ".[all,test]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info .pytest_cache .ruff_cache .import_linter_cache
