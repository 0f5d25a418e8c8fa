"""statistics.py: the counts that --stats prints."""

from personagpt.records.statistics import statistics
from personagpt.records.talks import UNKNOWN_DAY, Flag, Thumb, Turn
from tests.records.making import make_talk, make_twins


def test_statistics() -> None:
    talk = make_talk("one two", "three", "x", "y y y", participant="p", ratings={"fluency": 3})
    talk.turns[1] = Turn("model", "three", replaced="drei", corrected=True)
    talk.turns[3].replaced = "z"
    talk.flags = [Flag(1, "other"), Flag(3, "other")]
    lines = statistics([talk, make_talk("one", "two", participant="p", source="app.py")])
    assert lines[0].startswith("2 talks, 20")
    printed = [" ".join(line.split()) for line in lines]
    for line in (
        "interact.py 1",
        "app.py 1",
        "c0ffee m 2",
        "fluency 1",
        "1 participant",
        "6 utterances",
        "human 3 1.3 words each",
        "model 3 1.7 words each",
        "1 corrected reply",
        "1 reply drawn again",
        "2 flags",
        "other 2 see the note",
    ):
        assert line in printed
    assert statistics([])[0] == "0 talks"


def test_flags_are_shares_of_each_models_replies() -> None:
    """Of three replies of the first model two have a flag, one of them two kinds; the other model's talk has none."""
    talk = make_talk(
        "a", "b", "c", "d", "e", "f", flags=((1, "other"), (3, "other"), (3, "unsafe"), (3, "unsafe", "!"))
    )
    better = make_talk("a", "b", "c", "d")
    better.model, better.model_checksum, better.flags = "n", "decaf", [Flag(3, "off-topic")]
    person = make_twins("hi", "ho")[0]
    person.flags = [Flag(1, "unsafe")]
    quiet = make_talk("a", "b")
    quiet.model_checksum = "quiet"
    printed = [" ".join(line.split()) for line in statistics([talk, better, person, quiet])]
    start = printed.index("c0ffee m: 3 replies")
    assert printed[start:] == [
        "c0ffee m: 3 replies",
        "flagged 2 66.7% of its replies",
        "other 2 66.7% of its replies",
        "unsafe 1 33.3% of its replies",
        "decaf n: 2 replies",
        "flagged 1 50.0% of its replies",
        "off-topic 1 50.0% of its replies",
    ]


def test_what_branches_of_a_talk_share_counts_once() -> None:
    """After a flag, /fix goes on as another talk with the same turns before: two replies, and one flag."""
    flagged = make_talk("hi", "b", "c", "d", flags=((3, "other", "off"), (1, "unsafe")))
    fixed = flagged.without(1)
    fixed.turns.append(Turn("model", "better", replaced="d", corrected=True))
    assert fixed.id != flagged.id
    printed = [" ".join(line.split()) for line in statistics([flagged, fixed])]
    assert "2 flags" in printed
    start = printed.index("c0ffee m: 2 replies")
    assert printed[start + 1 :] == [
        "flagged 2 100.0% of its replies",
        "other 1 50.0% of its replies",
        "unsafe 1 50.0% of its replies",
    ]


def test_an_utterance_of_twins_counts_once() -> None:
    assert "2 utterances" in statistics(list(make_twins("hi", "ho")))


def test_programs_of_imported_talks_and_thumbs_by_turn() -> None:
    imported = {"source": "convai2:data", "started": "2018-10-30T08:00:00.000"}
    one = make_talk("hi", "b", "c", "d", **imported, ratings={"eval_score": 2})
    one.thumbs = [Thumb(1, True), Thumb(3, False), Thumb(3, True)]
    two = make_talk("hi", "b", **imported | {"started": UNKNOWN_DAY}, ratings={"eval_score": 5, "profile_match": 1})
    for talk in (one, two):
        talk.model, talk.model_checksum = "Bot 6", ""
    long = make_talk(*["x"] * 46, **imported)  # its replies 21 and 23 are counted together
    long.model, long.model_checksum, long.thumbs = "Bot 1", "", [Thumb(41, False), Thumb(45, False)]
    printed = [" ".join(line.split()) for line in statistics([one, two, long])]
    assert printed[0] == "3 talks, 2018-10-30 to 2018-10-30"
    assert "Bot 6 2" in printed
    assert printed[printed.index("imported talks, by program") :] == [
        "imported talks, by program",
        "Bot 6: 2 talks, 3 replies; 2 thumbs up, 1 down (33% down); eval_score 3.50 (2 talks); "
        "profile_match 1.00 (1 talk)",
        "Bot 1: 1 talk, 23 replies; 0 thumbs up, 2 down (100% down)",
        "thumbs, by the number of the program's reply",
        "reply 1: 1 thumbs up, 0 down (0% down)",
        "reply 2: 1 thumbs up, 1 down (50% down)",
        "reply 21 and later: 0 thumbs up, 2 down (100% down)",
    ]
