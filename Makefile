# `make demo` and `make test` need only Python, git and make; the rest is for developers.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test torture check gallery lint format audit clean

demo: $(READY)
	$(BIN)/nst-rt demo

# In parallel, by file: the tests of a file share what is expensive to make.
test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Kills, full disks, hostile files, cameras that fail; `make test` runs a sample of it.
torture: $(READY)
	NST_RT_TORTURE=1 timeout 1200 $(BIN)/python -m pytest tests/torture -n 2 --dist worksteal --durations 10

# The inner loop: style and the quick tests.
check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -m "not slow" -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Trains the styles that ship further, from DATA/content (photos) and DATA/styles (paintings).
MINUTES ?= 600
gallery: $(READY)
	$(BIN)/python scripts/gallery.py $(DATA) --device cpu --minutes $(MINUTES) --batch-size 2 --out .gallery/trained --overwrite
	$(BIN)/python scripts/gallery.py $(DATA) --land .gallery/trained/*.safetensors

# Types are checked in the installed wheel: in the tree mypy does not see the mapped packages.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --target build/installed .
	cd build/installed && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Known vulnerabilities of what is installed; needs a network with an advisory database.
audit: $(READY)
	$(BIN)/python -m pip install -q pip-audit
	$(BIN)/pip-audit --skip-editable

$(READY): pyproject.toml scripts/setup.sh
	sh scripts/setup.sh $(PYTHON)
	touch $@

clean:
	rm -rf .venv build dist demo runs *.egg-info
