# The tasks of this project. `make` lists them; CONTRIBUTING.md says how to make the environment they run in.
#
# Why make and not nox: an environment with TensorFlow takes minutes and gigabytes, so all tasks share one, and that
# each task has its own is what nox is for. Each task here is a line or two that can also be typed.

PYTHON ?= .venv/bin/python
BIN := $(dir $(PYTHON))
# How pytest spreads the tests: one process a core, the tests of one module in one process (they share what they made).
SPREAD ?= -n 2 --dist loadfile
# A folder before site-packages in which only scikit-learn is another: tests start processes, so by its whole path.
LOWEST := $(abspath $(BIN)..)/lowest-sklearn
PYTEST := $(PYTHON) -m pytest

.DEFAULT_GOAL := help
.PHONY: help format lint spelling types test slow bench docs coverage lowest-sklearn check clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

format:  ## put the code into the form that lint asks for
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

lint:  ## ruff: rules and form
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

spelling:  ## codespell over code and pages (extra dev)
	$(BIN)codespell

types:  ## mypy, strict, over both packages
	$(PYTHON) -m mypy

test:  ## the tests that need minutes and no network, as in the README
	$(PYTEST) $(SPREAD)

slow:  ## the long tests: real images where there are any, kills at random, the wheel, the worked examples
	$(PYTEST) -m slow $(SPREAD)

bench:  ## speed, side by side in one run each; nothing else should be at work
	$(PYTEST) tests/benchmarks -s

docs:  ## what holds the pages: docstrings, their examples, the worked examples, the graph of the rooms
	$(PYTEST) tests/test_docstrings.py tests/test_doctests.py tests/test_layout.py tests/docs
	$(PYTEST) -m slow tests/end_to_end/test_examples.py

coverage:  ## which lines the tests reach, processes that they start included (extra dev); htmlcov/index.html
	$(PYTHON) -m coverage erase
	$(PYTEST) $(SPREAD) --cov --cov-report=term --cov-report=html --deselect tests/commands/test_cli.py::test_help_is_quick

lowest-sklearn:  ## the search tests on the lowest scikit-learn that pyproject.toml allows
	rm -rf $(LOWEST)
	$(PYTHON) -m pip install -q --no-deps --target $(LOWEST) "$$($(PYTHON) tests/support/lowest_release.py scikit-learn)"
	PYTHONPATH=$(LOWEST) $(PYTHON) -c "import sklearn; print('scikit-learn', sklearn.__version__, sklearn.__file__)"
	PYTHONPATH=$(LOWEST) $(PYTEST) tests/search $(SPREAD)

check: lint types test  ## what a change must pass before it is shown to others

clean:  ## remove what the tasks leave
	rm -rf $(LOWEST) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage .coverage.* htmlcov build dist
