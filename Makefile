# Everything here calls dev.py, which sets up .venv when it is missing.
PYTHON ?= python3

.PHONY: test lint bench docs wheels sanitize soak soak-long test-root test-install

test:
	$(PYTHON) dev.py test

lint:
	$(PYTHON) dev.py lint

bench:
	$(PYTHON) dev.py bench

docs:
	$(PYTHON) dev.py docs

# The sdist, the manylinux wheel with the compiled kernel, and the pure one, in dist/.
wheels:
	$(PYTHON) dev.py wheels

# The tests of the compiled kernel, with gcc's sanitizers of addresses and undefined behaviour.
sanitize:
	$(PYTHON) dev.py sanitize

# Half an hour: kills, refused system calls, mutants, rotations, a gigabyte in one line, a million agent ids,
# and thousands of examples, other ones every time, of whatever holds for all input.
soak:
	$(PYTHON) dev.py test -m soak --durations=0 --no-header -q
	$(PYTHON) dev.py test -m hypothesis --hypothesis-profile=soak --timeout=7200 --durations=0 --no-header -q

# A random mix of everything, for so many minutes: make soak-long MINUTES=60 SEED=7. More of it as root.
soak-long:
	SENTINELD_SOAK_MINUTES=$(or $(MINUTES),10) SENTINELD_SOAK_SEED=$(or $(SEED),1) \
	$(PYTHON) dev.py test -m soak -n 0 --no-header -q tests/faults/test_long.py

# As root, on a machine with systemd-nspawn and debootstrap: the units under a real systemd, two users,
# full and read-only file systems. SENTINELD_TEST_CACHE says where the container is kept.
test-root:
	$(PYTHON) dev.py test -m root -n 0 -q -rs

# Wheel and sdist, installed by pipx and uv with every Python from 3.11 on that is here. Fetches from PyPI.
test-install:
	$(PYTHON) dev.py test -m install -n 0 -q
