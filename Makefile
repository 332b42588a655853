# The course's commands. Works with GNU make 3.81 (the one of macOS) and newer.

# The PyTorch that the stored outputs were made with. pyproject.toml says which others will do.
TORCH := 2.13.0

# Tried in this order, the Python that the stored outputs were made with first.
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3 python
# make PYTHON=/some/python lab   uses this one and no other.
PYTHON :=

VENV := .venv
STAMP := $(VENV)/.set-up-done
UNFINISHED := $(VENV)/.set-up-unfinished
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --quiet
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help setup lab test notebooks images lint bench upgrade-report mutate clean

help: ## show these lines
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 24

setup: $(STAMP) ## make .venv and install what the course needs (the others do this, too)

lab: $(STAMP) ## copy the lessons to my-notebooks and open JupyterLab there
	@python -m checks lab $(ARGS)

test: $(STAMP) ## run the tests, and every lesson against its stored outputs
	@begin=$$(date +%s); python -m checks build --check \
	  && echo "The notebooks are what their sources build: $$(($$(date +%s) - begin)) s"
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadscope $(ARGS)

notebooks: $(STAMP) ## build and run the lessons from notebooks/source
	python -m checks build

images: $(STAMP) ## draw the figures from their sources
	python images/build.py

lint: $(STAMP) ## check the code, the types, the spelling and the content
	python -m ruff check
	python -m ruff format --check
	python -m mypy
	python -m codespell_lib README.md Makefile environment.yml checks images notebooks/source tests
	python tests/content/lint.py

bench: $(STAMP) ## measure what a check costs
	python tests/bench.py
	python tests/bench_notebooks.py

# make TORCH=2.14.0 upgrade-report   makes an environment with that version for it
# make PYTHON=/some/python upgrade-report   uses one that is there
upgrade-report: ## say what another PyTorch changes in the lessons, and which tests fail
	@mkdir -p artefacts
	@$(if $(PYTHON),,$(MAKE) setup VENV=artefacts/torch-$(TORCH))
	@$(if $(PYTHON),"$(PYTHON)",artefacts/torch-$(TORCH)/bin/python) tests/upgrade.py \
	  $(if $(PYTHON),,--torch $(TORCH)) $(ARGS)

mutate: $(STAMP) ## put mistakes into a copy, and see whether the tests notice each
	python tests/mutate.py $(ARGS)

clean: ## remove .venv and everything else that can be made again; my-notebooks stays
	rm -rf $(VENV) *.egg-info build artefacts tests/content/node_modules
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# One environment for learning and for testing: what testing adds is small beside PyTorch.
# A .venv whose making was interrupted is made anew; one that is sound is only brought up to date.
SUITABLE := import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
WHY_NOT := import sys; v = sys.version_info[:2]; \
  why = "too old" if v < (3, 11) else "too new" if v >= (3, 15) else "its venv is missing"; \
  print("  %s is Python %d.%d: %s" % ((sys.executable,) + v + (why,)))

$(STAMP): pyproject.toml
	@if test -e $(UNFINISHED) || ! $(VENV)/bin/python -c '$(SUITABLE)' >/dev/null 2>&1; then \
	  rm -rf $(VENV); \
	  for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
	    if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then found="$$python"; break; fi; \
	  done; \
	  if test -z "$$found"; then \
	    echo "The course needs Python 3.11, 3.12, 3.13 or 3.14, and did not find it."; \
	    for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
	      "$$python" -c '$(WHY_NOT)' 2>/dev/null; \
	    done | sort -u; \
	    echo "README.md says what to do when set-up fails."; \
	    exit 1; \
	  fi; \
	  echo "Setting up in $(VENV): some minutes, and 1.5 GB on the disk."; \
	  mkdir $(VENV) && touch $(UNFINISHED) && "$$found" -m venv $(VENV); \
	fi
	@touch $(UNFINISHED)
	@echo "Installing PyTorch $(TORCH) for the CPU ..."
	@$(PIP) --no-index --no-deps torch==$(TORCH) >/dev/null 2>&1 \
	  || $(PIP) --no-deps --index-url https://download.pytorch.org/whl/cpu torch==$(TORCH) \
	    >/dev/null 2>&1 \
	  || $(PIP) torch==$(TORCH) \
	  || echo "There is no PyTorch $(TORCH) for this computer: trying another version."
	@echo "Installing the course and what it needs ..."
	@$(PIP) --editable '.[dev]' \
	  || { echo "Set-up failed: README.md says what to do."; exit 1; }
	@rm $(UNFINISHED) && touch $(STAMP)
