"""What makes real bills hard is there: late, repeated, restated and corrected rows."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from finops_pipeline_tests.demo.conftest import Made
from finops_pipeline_tests.demo.recount import Line


def _by_reference(made: Made) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in made.cost:
        found[line.reference].append(line)
    return found


def _delay(made: Made, line: Line) -> timedelta:
    delivered = datetime.fromtimestamp((made.folder / line.file).stat().st_mtime, UTC)
    return delivered - datetime.fromisoformat(f"{line.start}+00:00")


def test_rows_arrive_late_up_to_three_weeks(adding: Made) -> None:
    firsts = {ref: found[0] for ref, found in _by_reference(adding).items()}
    delays = [_delay(adding, line) for line in firsts.values() if not line.corrects]
    assert min(delays) > timedelta(hours=4)
    assert max(delays) > timedelta(days=20)
    assert any(timedelta(days=2) < d < timedelta(days=9) for d in delays)


def test_the_last_hours_of_a_month_arrive_in_the_next(adding: Made) -> None:
    last = [line for line in adding.cost if line.start >= "2026-08-31T18" and line.day < "2026-09"]
    delivered = {
        datetime.fromtimestamp((adding.folder / line.file).stat().st_mtime, UTC).month
        for line in last
    }
    assert delivered == {9}


def test_files_overlap_with_identical_rows_and_restate_a_few(made: Made) -> None:
    twice = [found for found in _by_reference(made).values() if len(found) > 1]
    same = [found for found in twice if found[0].cost == found[1].cost]
    restated = [found for found in twice if found[0].cost != found[1].cost]
    assert len(same) > 20
    assert 3 <= len(restated) < len(same)
    for first, second in twice:
        assert first.file < second.file
    for first, second in same:
        shared = first.cells.keys() & second.cells.keys()
        assert {k: first.cells[k] for k in shared} == {k: second.cells[k] for k in shared}


def test_references_differ_but_for_repeats(adding: Made) -> None:
    for found in _by_reference(adding).values():
        assert found[0].reference.startswith("V2.")
        assert len({(f.resource, f.start, f.cells["cost/productSku"]) for f in found}) == 1


def test_corrections_point_back_and_form_chains(made: Made) -> None:
    lines = {line.reference: line for line in made.cost}
    corrections = [line for line in made.cost if line.corrects]
    flagged = [line for line in made.cost if line.cells["lineItem/isCorrection"] == "true"]
    assert corrections == flagged
    assert len(corrections) > 10
    chained = [c for c in corrections if lines[c.corrects].corrects]
    assert chained
    for correction in corrections:
        corrected = lines[correction.corrects]
        assert corrected.start == correction.start
        assert corrected.resource == correction.resource
        assert corrected.file < correction.file


def test_an_added_correction_is_a_difference(adding: Made) -> None:
    lines = {line.reference: line for line in adding.cost}
    for line in adding.cost:
        if line.corrects and not lines[line.corrects].corrects:
            assert line.quantity == lines[line.corrects].quantity * Decimal("-0.4")


def test_a_replacing_correction_is_the_full_new_value(replacing: Made) -> None:
    lines = {line.reference: line for line in replacing.cost}
    for line in replacing.cost:
        if line.corrects and not lines[line.corrects].corrects:
            assert line.quantity == lines[line.corrects].quantity * Decimal("0.6")


def test_both_styles_end_at_the_same_cost(adding: Made, replacing: Made) -> None:
    for currency in adding.truth.currencies:
        assert adding.truth.net_cost(currency) == replacing.truth.net_cost(currency)


def test_focus_calls_corrections_adjustments(adding: Made) -> None:
    for line in adding.focus:
        expected = "Adjustment" if line.corrects else "Usage"
        assert line.cells["ChargeCategory"] == expected


def test_some_resources_change_owner_half_way(adding: Made) -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for line in adding.cost:
        owners[line.resource].add(dict(line.tags).get("CostCenter.BusinessUnit", ""))
    assert {"", "mobile"} in owners.values()
