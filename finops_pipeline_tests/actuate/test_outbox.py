"""The outbox and the file sink in one process: what is recorded, sent, refused and repeated."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_pipeline.actuate.budgets import DailySpend, crossings
from finops_pipeline.actuate.events import from_json, threshold_crossed, to_json
from finops_pipeline.actuate.outbox import DeliveryError, Outbox, OutboxError
from finops_pipeline.actuate.sinks import FileSink, SinkError
from finops_pipeline.config import Budget

BUDGET = Budget(name="platform", amount=Decimal(100))


def event(identity: str, day: int = 1, **data: str) -> CloudEvent:
    line = {
        "specversion": "1.0",
        "id": identity,
        "source": "/test",
        "type": "test",
        "time": f"2025-01-{day:02}T00:00:00Z",
        "data": data,
    }
    return from_json(json.dumps(line).encode())


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


class ListSink:
    """Keeps what it gets in a list; refuses the event named in `refuses`."""

    def __init__(self, name: str = "list", refuses: str = "") -> None:
        self.name = name
        self.refuses = refuses
        self.got: list[str] = []

    def send(self, event: CloudEvent) -> None:
        if event.get_id() == self.refuses:
            raise SinkError("the receiver said 503")
        self.got.append(event.get_id())


def test_recorded_then_sent_once(tmp_path: Path) -> None:
    outbox, sink = Outbox(tmp_path / "outbox"), ListSink()
    assert outbox.record([event("b", 2), event("a", 3), event("c", 1)]) == 3
    assert [e.get_id() for e in outbox.pending("list")] == ["c", "b", "a"]  # by time
    assert outbox.deliver([sink]) == 3
    assert outbox.pending("list") == []
    assert outbox.record([event("a", 3)]) == 0
    assert outbox.deliver([sink]) == 0
    assert sink.got == ["c", "b", "a"]


def test_an_empty_outbox_has_nothing_to_say(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    assert outbox.pending("list") == []
    assert outbox.record([]) == 0
    assert outbox.deliver([ListSink()]) == 0


def test_the_first_wording_of_an_event_stands(tmp_path: Path) -> None:
    outbox, path = Outbox(tmp_path / "outbox"), tmp_path / "events.jsonl"
    assert outbox.record([event("a", spent="80"), event("a", spent="81")]) == 1
    outbox.record([event("a", spent="82")])
    outbox.deliver([FileSink(path)])
    assert json.loads(path.read_bytes())["data"] == {"spent": "80"}


def test_each_sink_gets_every_event(tmp_path: Path) -> None:
    outbox, one, two = Outbox(tmp_path / "outbox"), ListSink("one"), ListSink("two")
    outbox.record([event("a")])
    outbox.deliver([one])
    outbox.record([event("b", 2)])
    assert outbox.deliver([one, two]) == 3
    assert one.got == two.got == ["a", "b"]


def test_a_refusing_sink_keeps_its_order_and_holds_up_no_other(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    bad, good = ListSink("bad", refuses="b"), ListSink("good")
    outbox.record([event("a", 1), event("b", 2), event("c", 3)])
    with pytest.raises(DeliveryError, match=r"sink 'bad': the receiver said 503.*next delivery"):
        outbox.deliver([bad, good])
    assert (bad.got, good.got) == (["a"], ["a", "b", "c"])
    bad.refuses = ""
    assert outbox.deliver([bad, good]) == 2
    assert bad.got == ["a", "b", "c"]


def test_two_sinks_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="share a name: list, list"):
        Outbox(tmp_path).deliver([ListSink(), ListSink()])


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".lock", "a\n", "x" * 129])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    outbox = Outbox(tmp_path / "outbox")
    if name:
        with pytest.raises(ValueError, match="cannot name a file"):
            outbox.record([event(name)])
    if len(name) < 129:
        with pytest.raises(ValueError, match="cannot name a file"):
            outbox.deliver([ListSink(name)])


@pytest.mark.parametrize("content", [b"", b"[]", b'{"id": "a"}', to_json(event("other"))])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    outbox = Outbox(tmp_path)
    outbox.record([event("a")])
    damaged = tmp_path / "events" / "a.json"
    damaged.write_bytes(content)
    with pytest.raises(OutboxError, match=r"a\.json: not the event it should be.*charge day"):
        outbox.deliver([ListSink()])
    damaged.unlink()
    assert outbox.record([event("a")]) == 1


def run_day(home: Path, spend: list[DailySpend], day: date) -> int:
    """What a run of a charge day does. Returns how many events are new."""
    outbox = Outbox(home / "outbox")
    new = outbox.record([threshold_crossed(c) for c in crossings(BUDGET, "USD", spend, day)])
    outbox.deliver([FileSink(home / "events.jsonl")])
    return new


def test_a_restatement_is_not_announced_again(tmp_path: Path) -> None:
    first, second, third = (date(2025, 1, n) for n in (1, 2, 3))
    assert run_day(tmp_path, [DailySpend(first, Decimal(85))], first) == 2  # 50, 80
    lowered = [DailySpend(first, Decimal(10))]
    assert run_day(tmp_path, lowered, first) == 0
    assert run_day(tmp_path, [*lowered, DailySpend(second, Decimal(75))], second) == 0
    assert run_day(tmp_path, [*lowered, DailySpend(third, Decimal(90))], third) == 1  # 100
    assert run_day(tmp_path, [DailySpend(date(2025, 2, 1), Decimal(50))], date(2025, 2, 1)) == 1
    told = [json.loads(line)["data"] for line in (tmp_path / "events.jsonl").open()]
    assert sorted((t["month"], t["threshold"], t["charge_day"]) for t in told) == [
        ("2025-01", "100", "2025-01-03"),
        ("2025-01", "50", "2025-01-01"),
        ("2025-01", "80", "2025-01-01"),
        ("2025-02", "50", "2025-02-01"),
    ]


@settings(max_examples=15, deadline=None)
@given(
    amounts=st.lists(st.integers(-30, 60), min_size=1, max_size=10),
    again=st.lists(st.integers(1, 10), max_size=5),
    data=st.data(),
)
def test_days_run_in_any_order_and_again_send_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory,
    amounts: list[int],
    again: list[int],
    data: st.DataObject,
) -> None:
    spend = [DailySpend(date(2025, 1, n), Decimal(a)) for n, a in enumerate(amounts, 1)]
    in_order, any_order = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("any")
    for day in range(1, 11):
        run_day(in_order, spend, date(2025, 1, day))
    for day in data.draw(st.permutations([*range(1, 11), *again])):
        run_day(any_order, spend, date(2025, 1, day))
    lines = [sorted(_lines(home)) for home in (in_order, any_order)]
    assert lines[0] == lines[1]
    assert len(set(lines[0])) == len(lines[0])


def _lines(home: Path) -> list[bytes]:
    path = home / "events.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def test_a_line_torn_at_any_byte_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    before, torn = to_json(event("a")) + b"\n", to_json(event("b", 2, text="x")) + b"\n"
    for length in range(len(torn) + 1):
        path.write_bytes(before + torn[:length])
        FileSink(path).send(event("b", 2, text="x"))
        assert path.read_bytes() == before + torn, length


def test_a_whole_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(to_json(event("a")))
    FileSink(path).send(event("b"))
    assert ids(path) == ["a", "b"]


def test_an_id_inside_another_events_data_is_not_the_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = FileSink(path)
    sink.send(event("a", id="b", after="b"))
    for identity in ("b", "b", "a"):
        sink.send(event(identity))
    assert ids(path) == ["a", "b"]


def test_the_file_alone_tells_what_was_sent(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    outbox = Outbox(tmp_path / "outbox")
    outbox.record([event("a"), event("b", 2)])
    outbox.deliver([FileSink(path)])
    for marker in (tmp_path / "outbox" / "sent" / "file").iterdir():
        marker.unlink()
    assert outbox.deliver([FileSink(path)]) == 2
    assert ids(path) == ["a", "b"]
