"""consents.py: the texts that participants agreed to, each wording once."""

from personagpt.records.consents import keep_consent, kept_consents, wording


def test_each_wording_is_kept_once(tmp_path) -> None:
    for study, text in (("a", "one"), ("a", "two"), ("a", "one"), ("a-b", "three")):
        keep_consent(tmp_path, study, text)
    assert len(list(tmp_path.iterdir())) == 3
    assert sorted(kept_consents(tmp_path, "a")) == ["one", "two"]
    assert kept_consents(tmp_path, "a-b") == ["three"]
    assert kept_consents(tmp_path, "b") == []
    assert (tmp_path / f"consent.a.{wording('two')}.txt").read_text() == "two"
