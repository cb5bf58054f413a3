# Every target first makes .venv if requirements.lock asks for it (tools/install.py); nothing else is installed.
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
OUTSIDE := $(PATH)
export PATH := $(BIN):$(PATH)
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install walkthrough test lab docs readme outputs bench lock

# Kernels run in nbs/, where a relative path would point nowhere
absolute = case "$$FER2013_PATH" in "") unset FER2013_PATH;; /*) ;; *) export FER2013_PATH="$(CURDIR)/$$FER2013_PATH";; esac;

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20
	@echo "  FER2013_PATH=... before walkthrough, lab or outputs: real FER-2013 instead of drawn faces"
	@echo "  PYTHON=python3.12 after make: which Python makes .venv"

install: ## make .venv from requirements.lock, if it is not that already
	@PATH='$(OUTSIDE)' $(PYTHON) tools/install.py

walkthrough: install ## run every numbered notebook in order; pages, figures and metrics in _walkthrough/
	@$(absolute) python tools/walkthrough.py

test: install ## test notebooks, modules, wheel and site, as CI does
	@unset FER2013_PATH; python -m pytest tests -ra --durations=10

lab: install ## open JupyterLab on the notebooks
	@$(absolute) jupyter lab nbs

docs: install ## build the site into _docs/, offline
	@python docs/build.py

readme: install ## write README.md from nbs/index.ipynb
	@python docs/build.py --readme

outputs: install ## run the notebooks in place on real FER-2013, so that they can be committed
	@$(absolute) python tools/walkthrough.py --in-place $(only)

bench: install ## run the benchmarks; what they print is kept in benchmarks/results.txt
	@set -o pipefail; for b in benchmarks/*.py; do echo "# python $$b"; python -W ignore $$b || exit 1; echo; done | tee benchmarks/results.part && mv benchmarks/results.part benchmarks/results.txt

lock: install ## choose newer versions of everything and write requirements.lock
	@uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --override tools/overrides.txt --extra dev setup.py tools/checks.txt -o requirements.lock
