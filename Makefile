# Every target first makes .venv if requirements.lock asks for it (tools/install.py).
# Nothing else is installed.
PYTHON ?= python3
VENV ?= .venv
override VENV := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))
OUTSIDE := $(PATH)
export PYTHON VENV OUTSIDE
export PATH := $(VENV)/bin:$(PATH)
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install walkthrough test lab docs readme outputs bench lock fork

# Kernels run in nbs/, where a relative path would point nowhere
absolute = case "$$FER2013_PATH" in \
  "") unset FER2013_PATH;; \
  /*) ;; \
  *) export FER2013_PATH="$(CURDIR)/$$FER2013_PATH";; esac;

help: ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20
	@echo "  FER2013_PATH=... before walkthrough, lab or outputs: the real FER-2013"
	@echo "  PYTHON=python3.12 after make: which Python makes .venv"
	@echo "  VENV=/another/place after make: an environment there, instead of .venv"

install: ## make .venv from requirements.lock, if it is not up to date
	@PATH="$$OUTSIDE"; command -v "$$PYTHON" >/dev/null || { \
	  echo "error: no program $$PYTHON is installed here, and it was to make .venv." >&2; \
	  p=$${PYTHON##*/}; \
	  echo "Install it (Debian, Ubuntu: sudo apt-get install $$p $$p-venv)," >&2; \
	  echo "or name a Python 3.11 or newer that is there: make PYTHON=python3 ..." >&2; exit 1; }; \
	"$$PYTHON" tools/install.py

walkthrough: install ## run every numbered notebook; pages, figures, metrics in _walkthrough/
	@$(absolute) python tools/walkthrough.py $(only)

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
	@set -o pipefail; for b in benchmarks/*.py; do \
	  echo "# python $$b"; python -W ignore $$b || exit 1; echo; \
	done | tee benchmarks/results.part && mv benchmarks/results.part benchmarks/results.txt

lock: install ## choose newer versions of everything and write requirements.lock
	@uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes \
	  --override tools/overrides.txt --extra dev setup.py tools/checks.txt -o requirements.lock

fork: install ## user=NAME: every link of the project to your copy of it on GitHub
	@python tools/fork.py $(user) $(repo)
