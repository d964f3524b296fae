"""Gate a FOCUS 1.2 export with the official validator.

    python scripts/focus_validator/run.py EXPORT.parquet

The validator needs Python 3.12 and older libraries than this project, so it lives in an
environment of its own, `.venv312` in the project root, made on first use. What it may fail on
stands in `allowlist.yaml`, for CSV also in `allowlist_csv.yaml`; any other failure makes this
exit with 1. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parents[1] / ".venv312"
VALIDATOR = "2.2.1"
FOCUS = "1.2"

OK, FAILED, BROKEN = 0, 1, 2


class UnavailableError(Exception):
    """There is no validator here, and none can be made; says why."""


def answers(python: str | Path, code: str) -> str | None:
    """What `python -c code` prints, or None if that program does not run."""
    try:
        done = subprocess.run(
            [str(python), "-c", code], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def pythons() -> Iterator[str]:
    """Every Python from 3.12 on that really runs: a version manager's shim may be a dead name."""
    found = [path for name in ("python3.12", "python3.13") if (path := shutil.which(name))]
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for series in ("3.12*", "3.13*"):
        found += [str(p) for p in sorted(versions.glob(f"{series}/bin/python"), reverse=True)]
    for python in found:
        if answers(python, "import sys; print(sys.version_info >= (3, 12))") == "True":
            yield python


def installed() -> bool:
    code = "from importlib.metadata import version; print(version('focus-validator'))"
    return answers(ENVIRONMENT / "bin" / "python", code) == VALIDATOR


def install() -> None:
    """Make the environment with the first Python that can hold the pinned versions."""
    candidates = list(pythons())
    if not candidates:
        raise UnavailableError("no Python 3.12")
    pip = [
        "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--constraint", str(HERE / "constraints.txt"),
        # A Python too new for these would otherwise compile them, for minutes.
        "--only-binary", "duckdb,numpy,pandas,polars,pyarrow",
        f"focus-validator=={VALIDATOR}",
    ]  # fmt: skip
    reason = ""
    for python in candidates:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        try:
            for command in (
                [python, "-m", "venv", str(ENVIRONMENT)],
                [str(ENVIRONMENT / "bin" / "python"), *pip],
            ):
                subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
            return
        except subprocess.TimeoutExpired:
            reason = "the installation took more than 10 minutes"
        except subprocess.CalledProcessError as error:
            reason = (error.stderr or error.stdout or str(error)).strip().splitlines()[-1]
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    raise UnavailableError(f"focus-validator {VALIDATOR} cannot be installed: {reason}")


def validate(export: Path, timeout: int) -> tuple[dict[str, str], dict[str, str]]:
    """Run the validator: each rule's outcome, and each rule's text."""
    python = ENVIRONMENT / "bin" / "python"
    packages = answers(python, "import sysconfig; print(sysconfig.get_path('purelib'))")
    if not packages:
        raise RuntimeError(f"{python} does not run; delete {ENVIRONMENT.name} and try again")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [
                str(python), "-m", "focus_validator.main",
                "--data-file", str(export),
                "--validate-version", FOCUS,
                "--block-download",
                # Without all criteria, most rules are skipped and say nothing.
                "--applicability-criteria", "ALL",
                "--output-type", "unittest",
                "--output-destination", str(report),
            ],
            # It opens its currency list relative to the working directory.
            cwd=packages,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
            capture_output=True,
            text=True,
            timeout=timeout,
        )  # fmt: skip
        if done.returncode or not report.exists():
            said = (done.stderr or done.stdout).strip().splitlines()[-15:]
            raise RuntimeError("the validator broke:\n" + "\n".join(said))
        outcomes = read_report(report)
    model = next(Path(packages, "focus_validator", "rules").glob(f"model-{FOCUS}.*.json"))
    rules = json.loads(model.read_text(encoding="utf-8"))["ModelRules"]
    return outcomes, {k: v["ValidationCriteria"]["MustSatisfy"] for k, v in rules.items()}


def read_report(report: Path) -> dict[str, str]:
    """Outcome by rule: the exit code is 0 whatever happened, only the JUnit file tells."""
    marks = {"failure": "failed", "error": "errored", "skipped": "skipped"}
    outcomes: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        rule = case.get("name", "").split(" :: ")[0]
        outcomes[rule] = next((marks[c.tag] for c in case if c.tag in marks), "passed")
    return outcomes


def judge(outcomes: dict[str, str], texts: dict[str, str], allowed: dict[str, str]) -> int:
    """Print what matters and decide."""
    bad = sorted(rule for rule, outcome in outcomes.items() if outcome in ("failed", "errored"))
    count = {o: sum(x == o for x in outcomes.values()) for o in ("passed", "skipped")}
    if not count["passed"]:
        print("broken: not one rule passed, so the export was not really checked")
        return BROKEN
    unexpected = [rule for rule in bad if rule not in allowed]
    for rule in unexpected:
        print(f"{outcomes[rule]}: {rule}: {texts.get(rule, '(no text)')}")
    for rule in sorted(set(allowed) - set(bad)):
        print(f"stale: {rule} is in the allowlist but {outcomes.get(rule, 'does not exist')}")
    print(
        f"FOCUS {FOCUS}: {count['passed']} rules passed, {count['skipped']} skipped by the"
        f" validator, {len(bad) - len(unexpected)} failed as allowed, {len(unexpected)} failed"
    )
    return FAILED if unexpected else OK


def allowed_for(export: Path) -> dict[str, str]:
    """The rules that this kind of file may fail, each with its reason."""
    names = ["allowlist.yaml"] + (["allowlist_csv.yaml"] if export.suffix == ".csv" else [])
    allowed: dict[str, str] = {}
    for name in names:
        allowed |= yaml.safe_load((HERE / name).read_text(encoding="utf-8"))
    return allowed


def main() -> int:
    parser = argparse.ArgumentParser(description="Gate a FOCUS 1.2 export with the validator.")
    parser.add_argument("export", type=Path, help="Parquet or CSV file")
    parser.add_argument("--timeout", type=int, default=900, help="seconds for the validator")
    parser.add_argument("--require", action="store_true", help="a skip is a failure")
    arguments = parser.parse_args()
    export = arguments.export.resolve()
    if not export.is_file() or export.suffix not in (".parquet", ".csv"):
        parser.error(f"{arguments.export} is no .parquet or .csv file")
    allowed = allowed_for(export)
    try:
        if not installed():
            install()
    except UnavailableError as why:
        print(f"skipped: {why}")
        return FAILED if arguments.require else OK
    try:
        outcomes, texts = validate(export, arguments.timeout)
    except subprocess.TimeoutExpired:
        print(f"broken: the validator took more than {arguments.timeout} s")
        return BROKEN
    except RuntimeError as error:
        print(f"broken: {error}")
        return BROKEN
    return judge(outcomes, texts, allowed)


if __name__ == "__main__":
    sys.exit(main())
