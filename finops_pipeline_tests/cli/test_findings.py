"""A provider that changes its columns is told of once: by the run, and by an event."""

from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path

from finops_pipeline_tests.cli.place import HEADER, Place, row


def test_a_new_column_is_told_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.configure()
    place.deliver("0001", row())
    assert "finding:" not in place.finops("run").output
    for name, cost in (("0002", "2.5"), ("0003", "3.5")):
        text = f"{HEADER},cost/newThing\r\n{row(cost)},7\r\n".encode()
        place.deliver_bytes(name, gzip.compress(text, mtime=0), date(2025, 1, 4))
        result = place.finops("run")
        assert result.exit_code == 0
        said = "0002.csv.gz begins to have cost/newThing" in result.output
        assert said == (name == "0002")
    lines = (tmp_path / "home" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    assert [(e["type"], e["data"]["added"]) for e in told] == [
        ("finops.report.schema_drifted.v1", ["cost/newThing"])
    ]
