# make demo · make test · make machines · make spark-cluster · make fuzz · make kills
# make explain · make dev · make bench · make lint
# Everything is installed into .venv, at the versions of constraints.txt.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTS ?= finops_pipeline_tests
RUNS ?= 100000
SEED ?= 1
# One more than a small machine has cores: many tests wait for other processes.
WORKERS ?= 3
# Tests write many small files that must be on the disk: memory is one that is quick.
ROOM ?= $(shell [ "$$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 4000000 ] \
	2>/dev/null && echo /dev/shm || echo $${TMPDIR:-/tmp})

.PHONY: demo test azurite machines servers spark-cluster fuzz kills explain dev bench lint types fix validate browser clean

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null 2>&1 && $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; name one: make PYTHON=…"'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[objects,aws,azure,gcp,ui,celery,kubernetes,dev]'
	@touch $@

demo: $(READY)            ## make a tenancy, run the whole pipeline, show the result
	$(BIN)/finops demo

dev: $(READY)             ## the Dagster UI on http://127.0.0.1:3000
	$(BIN)/dagster dev --host 127.0.0.1 --port 3000

# A file's tests share what is made for them, so one process runs them.
test: $(READY) azurite    ## lint, types and all tests
	$(MAKE) lint types
	TMPDIR=$(ROOM) $(BIN)/python -m pytest $(TESTS) \
	-n $(WORKERS) --dist loadfile --no-loadscope-reorder

azurite:                  ## Azure Blob Storage's emulator, which tests start for themselves
	@test -x .azurite/node_modules/.bin/azurite-blob \
	|| { command -v npm >/dev/null \
	&& npm install --silent --no-audit --no-fund --no-save --prefix .azurite azurite@3.37.0; } \
	|| echo "not installed: Node.js and npm are needed; the tests against it are skipped" >&2

machines: $(READY) servers  ## a backfill over Celery workers, one of which is killed
	$(BIN)/python -m pytest finops_pipeline_tests/deploy -m machines -rs

servers:                  ## Redis, PostgreSQL and Prometheus, which tests start for themselves
	@command -v redis-server >/dev/null && command -v prometheus >/dev/null \
	&& { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq \
	&& RUNLEVEL=1 apt-get install -qq -y redis-server postgresql prometheus; } \
	|| { echo "not installed: as root, apt-get install redis-server postgresql prometheus" >&2; exit 1; }

spark-cluster: $(READY)   ## the whole pipeline on a Spark cluster on loopback; needs Java 17
	FINOPS_TEST_CLUSTER=1 $(BIN)/python -m pytest finops_pipeline_tests/engine/test_spark.py -k cluster

fuzz: $(READY)            ## 100,000 made-up and damaged reports through the reader: RUNS=… SEED=…
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,fuzz]'
	$(BIN)/python -m finops_pipeline_tests.fuzz.reader --runs $(RUNS) --seed $(SEED)

kills: $(READY)           ## two hundred whole runs killed at random instants, and run again
	FINOPS_KILLS=all TMPDIR=$(ROOM) $(BIN)/python -m pytest -s \
	finops_pipeline_tests/faults/test_killed.py finops_pipeline_tests/normalize/test_killed.py

explain: $(READY)         ## every row of the default demo explained down to its report lines
	$(BIN)/finops demo >/dev/null
	$(BIN)/python -m finops_pipeline_tests.query.every_row .finops/demo/finops.yaml

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

fix: $(READY)             ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)           ## speed and memory beside the floor of this machine
	$(BIN)/python -m benchmarks

validate: $(READY)        ## the official FOCUS validator on the demo's export
	$(BIN)/finops demo >/dev/null
	$(BIN)/finops export --focus 1.2 --out .finops/focus-1.2.parquet
	$(BIN)/python scripts/focus_validator/run.py .finops/focus-1.2.parquet

clean:
	rm -rf $(VENV) .venv312 .finops .dagster .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .azurite
