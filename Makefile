# make demo and make test each do everything from a bare checkout; the second time they are quick.

VENV := .venv
BIN := $(VENV)/bin
OLD := .venv-tflite-runtime

# The first interpreter from 3.11 to 3.13 that runs; override with make PYTHON=...
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& command -v $$p && break; done)

.PHONY: demo test check unit test-boards test-docs tflite-runtime emulator judges boards board-programs bench clean

demo: $(VENV)/.ready
	$(BIN)/tinsmith demo --output demo-output
	@echo ". $(BIN)/activate makes tinsmith a command of your shell"

test: check unit tflite-runtime

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p tinsmith
	$(BIN)/lint-imports

# A process a core, four at most: each that trains holds a gigabyte. Tests of one file share what the first of them made.
unit: $(VENV)/.ready
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

# Boards of every kind and the shells of phones: what needs root or a machine of its own takes minutes.
test-boards: $(VENV)/.ready
	$(BIN)/python -m pytest -q tests/boards tests/phones --boards

# Every command of the docs and the examples, to the letter: minutes.
test-docs: $(VENV)/.ready
	$(BIN)/python -m pytest -q tests/docs --docs

# The engine of 32-bit Arm boards needs numpy < 2, so it is tested in an environment of its own.
tflite-runtime: $(OLD)/.ready
	$(OLD)/bin/python -m pytest -q tests/contract/test_engines.py -k tflite_runtime

# CPUs that this machine does not have: tests and benchmarks that need them are left out without it.
emulator:
	@command -v qemu-x86_64-static >/dev/null \
		|| { apt-get update -qq && apt-get install -y -qq --no-install-recommends qemu-user-static >/dev/null; }

# Programs that judge the server and its bundles; their tests are left out without them.
JUDGES := minisign wrk chromium chromium-driver curl
judges:
	@(for program in minisign wrk chromium chromedriver curl; do command -v $$program >/dev/null || exit 1; done) \
		|| { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(JUDGES) >/dev/null; }

# Virtual boards, for tests and `tinsmith devices up`: their programs from Debian, and the systems they boot. What can't
# be had is said, and the boards that need it are left out. mksh, toybox and busybox are what phones have for a shell.
BOARDS := qemu-user-static binfmt-support mmdebstrap proot openssh-server openssh-client adb qemu-system-arm \
	iproute2 e2fsprogs kmod systemd-container mksh toybox busybox-static
boards: board-programs $(VENV)/.ready
	$(BIN)/python -m tinsmith.devices.boards

# RUNLEVEL=1: the SSH server is for the boards, and none is started on this machine; systemd starts it all the same.
board-programs:
	@dpkg --status $(BOARDS) >/dev/null 2>&1 \
		|| { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $(BOARDS) >/dev/null; } \
		|| echo "left out: the programs of some boards were not installed; apt and root are needed for: $(BOARDS)"

bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks

$(VENV)/.ready: setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python from 3.11 to 3.13 with venv was found"; \
		echo "hint:  install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 3; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

$(OLD)/.ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv --clear $(OLD)
	$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check "tflite-runtime==2.14.*" "numpy<2" pytest hypothesis
	$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

clean:
	rm -rf $(VENV) $(OLD) demo-output build dist *.egg-info
