"""Values of records, and reasons of records that have none."""

from __future__ import annotations

from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, parse_each, value_of


def test_a_reason_gets_the_records_place() -> None:
    def parse(record: Record) -> ImportedTalk:
        return ImportedTalk(record.place, [ImportedTurn("A", value_of(record.content, "text", str))])

    good, bad = parse_each([Record("line 1", {"text": "a"}), Record("line 2", {})], parse)
    assert good == ImportedTalk("line 1", [ImportedTurn("A", "a")])
    assert isinstance(bad, RecordError)
    assert (bad.place, str(bad)) == ("line 2", "no 'text'")


def test_speakers_in_their_order() -> None:
    assert ImportedTalk("", [ImportedTurn(name, "") for name in "BAB"]).speakers == ["B", "A"]
