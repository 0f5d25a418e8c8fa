"""evaluate.py: its files, its tables, its mistakes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import evaluate
import preprocess_dataset
from personagpt.files import file_checksum
from personagpt.model.loading import STATE, load_model
from personagpt.records.database import Recordings
from personagpt.scoring import evaluation, metrics
from personagpt.scoring.definitions import METRICS
from personagpt.scoring.entries import Entries
from personagpt.scoring.metrics import teacher_forced
from personagpt.scoring.report import DISTRUST
from personagpt.sequences.dataset import tensor_metadata
from personagpt.settings import TEXT_NAMES, read_settings
from personagpt.training.checkpoint import redirect_link
from personagpt.training.resume import data_identity
from tests.api_server import KEY, refusing, serving, streamed
from tests.records.making import make_talk
from tests.scoring.helpers import CANDIDATES, PLAIN, dataset_of, ranking_record
from tests.sequences.pairs import messages, pair, written

OPTIONS = {"env": Path(".env"), "generate": 0, "identify": False, "by_turn": False, "out": None}
OPTIONS |= {"model": None, "text": None, "side": "both", "compare": None}
OPTIONS |= {"orders": 0, "nli": None, "dnli": None, "failures": None, "runs": None}
OPTIONS |= {"interview": 0, "ask": None, "api": None, "talks": None, "without_facts": False, "record": False}


@pytest.fixture
def text(tmp_path):  # noqa: ANN201
    path = tmp_path / "cands.txt"
    path.write_text(CANDIDATES)
    return path


@pytest.fixture
def settings_file(tmp_path, write_settings, tiny_model, tokenizer, sample):  # noqa: ANN201
    """Settings whose save_path holds a model, and whose data_path has a few validation dialogues."""
    folder = tmp_path / "save" / "checkpoint" / "model"
    tiny_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    data = tmp_path / "data"
    data.mkdir()
    lines = (sample / "valid_both_original_no_cands.txt").read_text().splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if line.startswith("1 ")]
    (data / "valid_both_original_no_cands.txt").write_text("".join(lines[: starts[4]]))
    return write_settings(save_path=tmp_path / "save", data_path=data, model_name=sample / "base")


def test_evaluate_prints_and_writes_what_the_functions_compute(
    run, settings_file, tmp_path, tiny_model, encoder
) -> None:
    outcome = run(evaluate.main, "--env", settings_file)
    assert (outcome.status, outcome.err.split("\r")[-1].strip()) == (0, "")
    found = json.loads((tmp_path / "save" / "samples" / "eval.json").read_text())
    text = tmp_path / "data" / "valid_both_original_no_cands.txt"
    data = dataset_of(text.read_bytes(), encoder, 320)
    expected = metrics.figures(teacher_forced(tiny_model, data, encoder, PLAIN))
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert set(found) - set(expected) == {"model", "model_checksum", "text", "text_sha256"}
    assert f"perplexity{found['perplexity']:>15.2f}" in outcome.out
    assert "published" not in outcome.out  # another text, and another vocabulary
    assert outcome.out.count(DISTRUST) == 1


def test_goals_are_scored_beside_the_rest(run, settings_file, tmp_path, monkeypatch) -> None:
    (tmp_path / "goals.tsv").write_text("ask about anything.\task\tyou your\n")
    monkeypatch.setenv("goals", str(tmp_path / "goals.tsv"))
    written = tmp_path / "save" / "samples" / "eval.json"
    assert "goal_hit" not in run(evaluate.main, "--env", settings_file).out
    outcome = run(evaluate.main, "--env", settings_file, "--generate", 3)
    assert outcome.status == 0
    figures = json.loads(written.read_text())
    assert 0 <= figures["goal_base"] <= 1
    assert f"goal_hit{100 * figures['goal_hit']:>15.1f} %   replies that follow the goal they were given" in outcome.out
    # On the validation tensors the same: their sequences for goals do not count.
    texts = tmp_path / "data"
    (texts / TEXT_NAMES["train"]).write_bytes((texts / TEXT_NAMES["valid"]).read_bytes())
    assert run(preprocess_dataset.main, "--env", settings_file).status == 0
    (texts / TEXT_NAMES["valid"]).unlink()
    assert run(evaluate.main, "--env", settings_file, "--generate", 3).status == 0
    assert json.loads(written.read_text()) == figures


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "eval.json"),
        ({"model": "af1tang/personaGPT"}, "eval-af1tang--personaGPT.json"),
        ({"model": "runs/a/checkpoint/best/"}, "eval-a-best.json"),
        ({"model": "runs/a/checkpoint/model"}, "eval-a.json"),
        ({"model": "runs/a"}, "eval-a.json"),
        ({"text": Path("a/valid_both_original.txt")}, "eval-valid_both_original.json"),
        ({"model": "m", "text": Path("t.txt")}, "eval-m-t.json"),
        ({"side": "second"}, "eval-second.json"),
        ({"api": Path("a/large.toml"), "side": "second"}, "eval-api-large-second.json"),
        ({"model": "m", "text": Path("t.txt"), "side": "first"}, "eval-m-t-first.json"),
    ],
)
def test_another_model_or_text_writes_beside_the_run_s_eval_json(options, name, tmp_path, monkeypatch) -> None:
    for checkpoint in ("best", "model"):
        (tmp_path / "runs" / "a" / "checkpoint" / checkpoint).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert evaluate.file_name(evaluate.Options(**OPTIONS | options), {}) == name


def test_two_comparisons_never_write_the_same_file(tmp_path, monkeypatch) -> None:
    for save_path in ("x/a", "y/a", "x/b"):
        (tmp_path / save_path / "checkpoint" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    names = set()
    for first, text, side, count in (
        ("x/a", "t", "both", 5), ("y/a", "t", "both", 5), ("x/a", "u", "both", 5), ("x/a", "t", "both", 4),
        ("x/a", "t", "first", 5), ("x/a", "t", "second", 5),
    ):  # fmt: skip
        figures = {"model_checksum": first, "text_sha256": text, "responses": count}
        options = evaluate.Options(**OPTIONS | {"compare": [first, "x/b"], "text": Path("t.txt"), "side": side})
        names.add(evaluate.file_name(options, {"a": figures, "b": figures}))
    assert len(names) == 6
    assert all(re.fullmatch(r"compare-a-b-t-((first|second)-)?[0-9a-f]{8}\.json", name) for name in names)


def write_state(folder: Path, settings_file: Path, tokenizer) -> None:
    """Let the model in `folder` be of a run of 2 steps that validated on the present text."""
    settings = read_settings(settings_file)
    origin = file_checksum(settings.text("valid")), tokenizer, settings.max_turns, 320
    identity = {"validation_data": data_identity(tensor_metadata(*origin))}
    (folder / STATE).write_text(json.dumps({"step": 2, "settings": settings.plain(), "identity": identity}))


@pytest.mark.parametrize("same_text", [True, False])
def test_the_card_takes_figures_of_the_runs_own_text_only(
    run, settings_file, tmp_path, monkeypatch, tokenizer, same_text
) -> None:
    folder = tmp_path / "save" / "checkpoint" / "model"
    write_state(folder, settings_file, tokenizer)
    if not same_text:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / TEXT_NAMES["valid"]).write_text("1 hi !\thello .\n")
        monkeypatch.setenv("data_path", str(tmp_path / "other"))
    assert run(evaluate.main, "--env", settings_file).status == 0
    assert (folder / "README.md").exists() == same_text


@pytest.mark.parametrize("removed", [False, True])
def test_a_checkpoint_saved_meanwhile_gets_no_scores_of_another(
    run, settings_file, tmp_path, monkeypatch, tokenizer, removed
) -> None:
    """Training beside it saves step 4 while step 2 is scored, and then removes step 2."""
    folder = tmp_path / "save" / "checkpoint"
    old, new = folder / "step-00000002", folder / "step-00000004"
    (folder / "model").rename(old)
    write_state(old, settings_file, tokenizer)
    new.mkdir()
    redirect_link(folder / "model", old.name)

    def score_meanwhile(*arguments: object) -> dict[str, Entries]:
        redirect_link(folder / "model", new.name)
        if removed:
            shutil.rmtree(old)
        return teacher_forced(*arguments)

    monkeypatch.setattr(evaluation, "teacher_forced", score_meanwhile)
    assert run(evaluate.main, "--env", settings_file).status == 0
    assert json.loads((tmp_path / "save" / "samples" / "eval.json").read_text())["step"] == 2
    assert not list(new.iterdir())
    assert old.exists() != removed
    assert removed or "2 optimizer steps" in (old / "README.md").read_text()


def test_candidates_and_replies_of_another_text(run, settings_file, tmp_path, text) -> None:
    out = tmp_path / "scores.json"
    outcome = run(evaluate.main, "--env", settings_file, "--text", text, "--generate", 3, "--out", out)
    assert outcome.status == 0
    found = json.loads(out.read_text())
    assert found["hits_at_1"] in (0, 0.25, 0.5, 0.75, 1)
    assert found["generated"] == 3
    assert found["responses"] == 7
    assert not (tmp_path / "save" / "samples" / "eval.json").exists()
    assert f"hits_at_1{100 * found['hits_at_1']:>14.1f} %" in outcome.out


def test_without_the_text_the_tensors_serve(run, settings_file, tmp_path) -> None:
    import preprocess_dataset

    text = tmp_path / "data" / "valid_both_original_no_cands.txt"
    (tmp_path / "data" / "train_both_original_no_cands.txt").write_bytes(text.read_bytes())
    assert run(preprocess_dataset.main, "--env", settings_file).status == 0
    assert run(evaluate.main, "--env", settings_file, "--out", tmp_path / "a.json").status == 0
    text.unlink()
    assert run(evaluate.main, "--env", settings_file, "--out", tmp_path / "b.json").status == 0
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


def test_a_published_tokenizer_with_ordinary_words_gets_nothing_added(run, settings_file, tmp_path, base, text) -> None:
    from transformers import AutoTokenizer

    from personagpt.sequences.format import CLS, SEP, SPECIAL_TOKENS

    published = AutoTokenizer.from_pretrained(base)
    published.add_special_tokens({"sep_token": SEP, "cls_token": CLS})
    published.add_tokens([token for token in SPECIAL_TOKENS if token not in (SEP, CLS)])
    folder = tmp_path / "published"
    published.save_pretrained(folder)
    load_model(str(base), len(published)).save_pretrained(folder)
    out = tmp_path / "o.json"
    assert run(evaluate.main, "--env", settings_file, "--model", folder, "--text", text, "--out", out).status == 0
    assert run(evaluate.main, "--env", settings_file, "--text", text, "--out", tmp_path / "p.json").status == 0
    ours, theirs = (json.loads((tmp_path / name).read_text()) for name in ("o.json", "p.json"))
    assert ours["loss"] == theirs["loss"]
    assert ours["hits_at_1"] == theirs["hits_at_1"]


def test_identify_and_turns_are_printed_and_written(run, settings_file, tmp_path, text) -> None:
    out = tmp_path / "scores.json"
    outcome = run(
        evaluate.main, "--env", settings_file, "--text", text, "--identify", "--by-turn", "--generate", 9, "--out", out
    )
    assert outcome.status == 0
    found = json.loads(out.read_text())
    assert (found["identified"], found["identified_among"], found["identified_left_out"]) == (4, 4, 0)
    assert 0 <= found["persona_at_1"] <= found["persona_mrr"] <= 1
    assert "sides, each among 4 personas: chance 25.0 %; the text has no more" in outcome.out
    assert [(row["turn"], row["responses"]) for row in found["by_turn"]] == [(1, 2), (2, 2), (3, 2), (4, 1)]
    each = {"loss", "perplexity", "turn_perplexity", "token_f1", "persona_gain", "word_f1", "repeat_rate"}
    assert all(each < set(row) for row in found["by_turn"])
    assert [("hits_at_1" in row) for row in found["by_turn"]] == [True] * 4
    lines = [line.split() for line in outcome.out.splitlines()]
    header = next(number for number, words in enumerate(lines) if words[:2] == ["turn", "responses"])
    assert [words[:2] for words in lines[header + 1 : header + 5]] == [["1", "2"], ["2", "2"], ["3", "2"], ["4", "1"]]


def test_the_responses_of_a_single_side(run, settings_file, tmp_path, text) -> None:
    """The text's first speakers say 2 + 2 utterances, its second 2 + 1. Of each, 2 have candidates."""
    samples = tmp_path / "save" / "samples"
    more = ["--identify", "--by-turn", "--generate", 9]
    found = {}
    for side in ("both", "first", "second"):
        options = ["--env", settings_file, "--text", text, *more, *([] if side == "both" else ["--side", side])]
        outcome = run(evaluate.main, *options)
        assert outcome.status == 0
        name = "eval-cands.json" if side == "both" else f"eval-cands-{side}.json"
        found[side] = json.loads((samples / name).read_text())
        assert (f"of the speaker who talks {side}" in outcome.out) == (side != "both")
    both, first, second = found.values()
    assert [figures.get("side") for figures in found.values()] == [None, "first", "second"]
    assert [figures["responses"] for figures in found.values()] == [7, 4, 3]
    assert [figures["generated"] for figures in found.values()] == [7, 4, 3]
    assert [figures["identified"] for figures in found.values()] == [4, 2, 2]
    assert [figures["identified_among"] for figures in found.values()] == [4, 2, 2]
    turns = [[(row["turn"], row["responses"]) for row in figures["by_turn"]] for figures in found.values()]
    assert turns == [[(1, 2), (2, 2), (3, 2), (4, 1)], [(1, 2), (3, 2)], [(2, 2), (4, 1)]]
    # Each response counts on one side, and is scored there as it is among both.
    for metric, weight in (("loss", "response_tokens"), ("token_f1", "responses"), ("word_f1", "generated")):
        sums = [figures[metric] * figures[weight] for figures in found.values()]
        assert sums[0] == pytest.approx(sums[1] + sums[2], rel=1e-4)
    assert both["hits_at_1"] == (first["hits_at_1"] + second["hits_at_1"]) / 2
    for row in [*first["by_turn"], *second["by_turn"]]:
        assert row["loss"] == pytest.approx(both["by_turn"][row["turn"] - 1]["loss"], rel=1e-4)


def test_two_sides_never_mix(run, settings_file, tmp_path) -> None:
    """Both sides of this text have two responses, so only the side tells their figures apart."""
    (tmp_path / "even.txt").write_text("1 your persona: i ski .\n2 partner's persona: b .\n3 a\tb\n4 c\td\n")
    out, save_path = tmp_path / "scores.json", tmp_path / "save"
    options = ["--env", settings_file, "--text", tmp_path / "even.txt"]

    def names(*more: object) -> set[str]:
        assert run(evaluate.main, *options, "--out", out, *more).status == 0
        return set(json.loads(out.read_text()))

    assert "word_f1" in names("--side", "first", "--generate", 2)
    assert "word_f1" in names("--side", "first")
    assert "word_f1" not in names("--side", "second")
    assert "side" not in names("--generate", 2)
    # Of two models, too, and no side touches the run's own figures and card.
    compare = ["--compare", save_path, save_path]
    assert "differences" in names("--side", "second", "--generate", 2, *compare)
    assert json.loads(out.read_text())["a"]["side"] == "second"
    assert "differences" in names("--side", "first", *compare)
    assert "word_f1" not in json.loads(out.read_text())["differences"]
    assert run(evaluate.main, "--env", settings_file, "--side", "first").status == 0
    assert {path.name for path in (save_path / "samples").iterdir()} == {"eval-first.json"}
    assert not (save_path / "checkpoint" / "model" / "README.md").exists()


def test_a_side_of_the_tensors(run, settings_file, tmp_path) -> None:
    texts = tmp_path / "data"
    (texts / TEXT_NAMES["train"]).write_bytes((texts / TEXT_NAMES["valid"]).read_bytes())
    assert run(preprocess_dataset.main, "--env", settings_file).status == 0
    assert run(evaluate.main, "--env", settings_file, "--side", "second", "--out", tmp_path / "a.json").status == 0
    (texts / TEXT_NAMES["valid"]).unlink()
    assert run(evaluate.main, "--env", settings_file, "--side", "second", "--out", tmp_path / "b.json").status == 0
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


def test_nobody_to_be_told_from(run, settings_file, tmp_path) -> None:
    (tmp_path / "one.txt").write_text("1 your persona: i ski .\n2 a\tb\n")
    outcome = run(evaluate.main, "--env", settings_file, "--text", tmp_path / "one.txt", "--identify")
    assert outcome.status == 0
    assert re.search(r"^identified +0   sides: the text has no two personas to tell apart$", outcome.out, re.MULTILINE)
    found = json.loads((tmp_path / "save" / "samples" / "eval-one.json").read_text())
    assert "persona_at_1" not in found
    assert found["identified_left_out"] == 1


def test_compare_a_model_with_itself(run, settings_file, tmp_path, text) -> None:
    model = tmp_path / "save" / "checkpoint" / "model"
    options = ["--env", settings_file, "--text", text, "--generate", 9, "--identify"]
    outcome = run(evaluate.main, *options, "--compare", model, model)
    assert outcome.status == 0
    (path,) = (tmp_path / "save" / "samples").glob("compare-save-save-cands-*.json")
    written = json.loads(path.read_text())
    assert run(evaluate.main, *options, "--out", tmp_path / "alone.json").status == 0
    alone = json.loads((tmp_path / "alone.json").read_text())
    assert written["a"] == written["b"]
    assert {key: value for key, value in written["a"].items() if key != "word_perplexity"} == alone
    assert written["same_vocabulary"]
    zero = {"difference": 0.0, "low": 0.0, "high": 0.0}
    names = {name for name in (metric.name for metric in METRICS) if name in written["a"]}
    assert {"loss", "hits_at_1", "persona_mrr", "word_f1", "repeat_rate", "word_perplexity"} < names
    without = {name: {"difference": 0.0} for name in ("distinct_1", "distinct_2", "entropy_4")}
    assert written["differences"] == dict.fromkeys(names, zero) | without
    assert re.search(r"^word_f1 .* \+0\.0 %   \+0\.0 % to \+0\.0 %$", outcome.out, re.MULTILINE)
    assert "different tokens" not in outcome.out
    assert outcome.out.count(DISTRUST) == 1


def test_a_classifier_and_rankings_of_two_models(run, settings_file, tmp_path, text, nli_folder) -> None:
    model = tmp_path / "save" / "checkpoint" / "model"
    (tmp_path / "f.jsonl").write_text(json.dumps(ranking_record(["i ski ."], ["hi !"], "ho !")) + "\n")
    asked = ["--generate", 9, "--nli", nli_folder, "--dnli", tmp_path / "f.jsonl", "--orders", 2]
    out = tmp_path / "c.json"
    options = ["--env", settings_file, "--text", text, "--out", out]
    assert run(evaluate.main, *options, "--compare", model, model, *asked).status == 0
    written = json.loads(out.read_text())
    zero = {"difference": 0.0, "low": 0.0, "high": 0.0}
    for name in ("bleu_1", "bleu_4", "rouge_l", "c_score", "c_score_pair", "contradicts_self", "order_spread"):
        assert written["differences"][name] == zero
    assert written["differences"]["dnli_hits"] == {"difference": 0.0}  # a single record
    assert sum(written["a"][f"dnli_{name}"] for name in ("hits", "entail", "neutral", "contradict")) == 1
    outcome = run(evaluate.main, *options[:-1], tmp_path / "d.json", *asked)
    assert re.search(rf"^nli_replies +7   replies, greedy, read by {nli_folder}$", outcome.out, re.MULTILINE)
    assert re.search(r"^rankings +1   records of \S+f\.jsonl, by likelihood among 31", outcome.out, re.MULTILINE)
    assert re.search(r"^orders +2   orders of the facts", outcome.out, re.MULTILINE)


def test_sacrebleu_is_asked_for_before_replies_are_made(run, settings_file, monkeypatch) -> None:
    monkeypatch.setattr(evaluate, "find_spec", lambda name: None)
    outcome = run(evaluate.main, "--env", settings_file, "--generate", 1)
    assert (outcome.status, outcome.err) == (2, "error: --generate needs sacrebleu: pip install -r requirements.txt\n")


def test_figures_of_the_same_model_and_text_stay_in_the_file(run, settings_file, tmp_path, text) -> None:
    out = tmp_path / "scores.json"
    options = ["--env", settings_file, "--text", text, "--out", out]

    def figures(*more: object) -> dict[str, object]:
        assert run(evaluate.main, *options, *more).status == 0
        return json.loads(out.read_text())

    first = figures("--identify", "--generate", 3, "--by-turn")
    assert figures() == first
    assert figures("--by-turn") == first
    again = figures("--generate", 2)
    assert (again["generated"], again["persona_mrr"], again["by_turn"]) == (2, first["persona_mrr"], first["by_turn"])
    # Figures of another model, text or number of utterances go.
    for key in ("model_checksum", "text_sha256", "responses"):
        out.write_text(json.dumps(first | {key: "another"}))
        assert "persona_mrr" not in figures()
    # Of two models, too.
    save_path = tmp_path / "save"
    assert run(evaluate.main, *options[:4], "--compare", save_path, save_path, "--generate", 2).status == 0
    assert run(evaluate.main, *options[:4], "--compare", save_path, save_path).status == 0
    (path,) = (save_path / "samples").glob("compare-save-save-cands-*.json")
    written = json.loads(path.read_text())
    assert all("word_f1" in written[part] for part in ("a", "b", "differences"))


@pytest.fixture
def three_goals(tmp_path, monkeypatch) -> None:
    (tmp_path / "goals.tsv").write_text("".join(f"ask about {name}.\task\t{name}\n" for name in ("a", "b", "c")))
    monkeypatch.setenv("goals", str(tmp_path / "goals.tsv"))


def test_interviews_are_printed_and_stay_in_the_file(run, settings_file, tmp_path, text, three_goals) -> None:
    out = tmp_path / "scores.json"
    options = ["--env", settings_file, "--text", text, "--out", out]
    outcome = run(evaluate.main, *options, "--interview", 1, "--ask", "random", "fixed")
    assert outcome.status == 0
    first = json.loads(out.read_text())["interviews"]
    assert list(first) == ["own model, random", "own model, fixed"]
    assert "interviews: 4, each among 4 personas: chance 25.0 %, 0.52 and 1.39 nats" in outcome.out
    assert re.search(r"^ +1  own model, fixed +[\d.]+ % \([\d.]+ to [\d.]+\)", outcome.out, re.MULTILINE)
    assert "less the same interviews with random questions" in outcome.out
    assert run(evaluate.main, *options, "--interview", 1, "--ask", "fixed", "--without-facts").status == 0
    assert run(evaluate.main, *options).status == 0
    later = json.loads(out.read_text())["interviews"]
    assert later == first | {"own model without facts, fixed": later["own model without facts, fixed"]}
    outcome = run(evaluate.main, *options, "--interview", 4)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "--interview 4: every question needs another goal; the settings have 3" in outcome.err


def test_a_program_behind_an_api_and_recorded_talks_are_interviewed(
    run, settings_file, tmp_path, text, three_goals
) -> None:
    out = tmp_path / "scores.json"
    options = ["--env", settings_file, "--text", text, "--out", out, "--interview", 1]
    with serving(streamed("I have two dogs.")) as server:
        (tmp_path / "api.toml").write_text(f'url = "{server.url}"\napi_model = "large-1"\n')
        outcome = run(evaluate.main, *options, "--ask", "fixed", "--api", tmp_path / "api.toml", "--record")
    assert outcome.status == 0
    assert len(server.requests) == 1 + 4  # a check before the model is loaded, and each of four personas
    systems = {request["messages"][0]["content"] for request in server.requests[1:]}
    assert systems == {"i have two dogs.\ni work as a nurse.", "i like rap music .", "i am old.", "i play the banjo."}
    recorded = Recordings(tmp_path / "save" / "conversations").talks()
    assert {tuple(talk.persona) for talk in recorded} == {tuple(system.split("\n")) for system in systems}
    for talk in recorded:
        assert (talk.source, talk.partner, talk.partner_persona) == ("self-play:interview", "partner", [])
        assert [(turn.speaker, turn.goal) for turn in talk.turns] == [("partner", "ask about a."), ("model", None)]
        assert talk.model == f"api://127.0.0.1:{server.server_port}/large-1"
        assert talk.sampling["partner"]["model"].startswith("model-")
    with serving(refusing(401, "no")) as server:
        (tmp_path / "api.toml").write_text(f'url = "{server.url}"\napi_model = "large-1"\n')
        outcome = run(evaluate.main, *options, "--api", tmp_path / "api.toml")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    talks = [make_talk("hi !", "i ski .", persona=["i ski ."]), make_talk("hi !", persona=["i run ."])]
    (tmp_path / "talks.jsonl").write_text("".join(talk.line() for talk in talks))
    outcome = run(evaluate.main, *options, "--talks", tmp_path / "talks.jsonl")
    assert outcome.status == 0
    assert "interviews: 1, each among 5 personas" in outcome.out
    names = list(json.loads(out.read_text())["interviews"])
    assert names[1:] == ["talks.jsonl, recorded"]
    assert re.fullmatch(r"api://127\.0\.0\.1:\d+/large-1, fixed", names[0])


def test_models_of_different_vocabularies_compare_by_words(run, settings_file, tmp_path, base, text) -> None:
    from transformers import AutoTokenizer

    from personagpt.sequences.format import add_special_tokens

    other = AutoTokenizer.from_pretrained(base)
    other.add_tokens(["i am called tom"])
    add_special_tokens(other)
    other.save_pretrained(tmp_path / "other")
    load_model(str(base), len(other)).save_pretrained(tmp_path / "other")
    model = tmp_path / "save" / "checkpoint" / "model"
    out = tmp_path / "c.json"
    outcome = run(
        evaluate.main, "--env", settings_file, "--text", text, "--compare", model, tmp_path / "other", "--out", out
    )
    assert outcome.status == 0
    assert "word_perplexity, of the same words for both" in outcome.out
    written = json.loads(out.read_text())
    assert not written["same_vocabulary"]
    assert set(written["differences"]) == {"word_perplexity", "hits_at_1"}
    assert written["a"]["response_tokens"] > written["b"]["response_tokens"]
    assert re.search(r"^perplexity +[\d.]+ +[\d.]+$", outcome.out, re.MULTILINE)


def test_a_program_behind_an_api(run, settings_file, tmp_path, text, nli_folder, monkeypatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setattr("personagpt.model.api.TOGETHER", 1)
    file = tmp_path / "large.toml"
    options = "--env", settings_file, "--api", file, "--text", text, "--generate", 2, "--by-turn"
    with serving(streamed("i like rap music")) as server:
        file.write_text(f'url = "{server.url}"\napi_model = "m"\nkey_env = "TEST_KEY"\n')
        outcome = run(evaluate.main, *options)
        server.answers = [streamed("ok"), streamed("i like rap music"), refusing(404, "no such model")]
        failed = run(evaluate.main, *options)
        (kept,) = (tmp_path / "save" / "samples").glob("replies-*.jsonl")
        assert KEY not in kept.read_text()
        server.answers = [streamed("i am old")]
        server.requests.clear()
        more = run(evaluate.main, *options, "--nli", nli_folder)
        asked = len(server.requests)
        monkeypatch.delenv("TEST_KEY")
        keyless = run(evaluate.main, *options)
    assert (outcome.status, outcome.err.split("\r")[-1].strip()) == (0, "")
    # The second run asks for a check and for the reply that the first run has not got.
    assert (more.status, asked, kept.exists()) == (0, 2, False)
    assert "going on with 1 kept reply of a run that did not end" in more.out
    written = (tmp_path / "save" / "samples" / "eval-api-large-cands.json").read_text()
    figures = json.loads(written)
    assert (figures["nli"], figures["nli_replies"]) == (str(nli_folder), 2)
    assert -1 <= figures["c_score_pair"] <= 1
    assert figures["model"] == f"api://127.0.0.1:{server.server_port}/m"
    assert {"word_f1", "bleu_4", "generated", "prompt_sha256", "by_turn"} <= figures.keys()
    assert KEY not in written + outcome.out
    assert (failed.status, keyless.status) == (2, 2)
    assert "no such model, or no such address: check api_model and url (HTTP 404): no such model" in failed.err
    assert keyless.err.startswith("error: key_env: the environment has no variable of this name")
    assert (failed.err.count("\n"), keyless.err.count("\n")) == (1, 1)


def test_a_model_without_persona_tokens(run, settings_file, base) -> None:
    outcome = run(evaluate.main, "--env", settings_file, "--model", base)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert "its tokenizer has no <|sep|>" in outcome.err
    assert "set model_name to it, run preprocess_dataset.py and train.py" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "./nowhere"], "there is no such folder"),
        (["--model", "a/b/c"], "there is no such folder"),
        (["--model", "{tmp}/data"], "no model in this folder"),
        (["--compare", "{tmp}/save/checkpoint/model", "./nowhere"], "./nowhere: there is no such folder"),
        (["--compare", "./nowhere", "{tmp}/save/checkpoint/model"], "./nowhere: there is no such folder"),
        (["--compare", "a", "b", "--model", "c"], "--compare takes both models: leave out --model c"),
        (["--text", "nowhere.txt"], "there is no such file"),
        (["--api", "x.toml"], "--api: expected with --generate N, the number of replies"),
        (["--api", "x.toml", "--identify"], "of a program behind an API are known: leave out --identify"),
        (["--api", "x.toml", "--generate", "3"], "x.toml: cannot read it: No such file"),
        (["--generate", "-1"], "expected a number of replies"),
        (["--out", "{tmp}/data"], "/data: a folder; name a file in it"),
        (["--text", "{tmp}/bad.txt"], "bad.txt:1: no line number"),
        (["--interview", "-1"], "--interview -1: expected a number of questions, 1 or more"),
        (["--interview", "1"], "--interview 1: every question needs another goal; the settings have none: set goals"),
        (["--interview", "1", "--compare", "a", "b"], "leave out --compare, and name the judge with --model"),
        (["--ask", "fixed"], "--ask is for interviews: add --interview K"),
        (["--without-facts"], "--without-facts is for interviews: add --interview K"),
        (["--interview", "1", "--talks", "nowhere"], "--talks nowhere: there is no such file"),
        (["--interview", "1", "--talks", "{tmp}/bad.txt", "--ask", "fixed"], "nobody is asked: leave out --ask"),
        (["--interview", "1", "--talks", "{tmp}/bad.txt", "--without-facts"], "leave out --without-facts"),
        (["--interview", "1", "--talks", "{tmp}/bad.txt"], "bad.txt:1: no talk as interact.py --export writes it"),
        (["--interview", "1", "--talks", "{tmp}/bad.txt", "--api", "x"], "leave out --api"),
        (["--interview", "1", "--api", "x", "--generate", "1"], "leave out --interview or --generate"),
        (["--text", "{tmp}/self.txt", "--side", "first"], "self.txt: no response of the speaker who talks first;"),
        (["--text", "{tmp}/short.txt", "--side", "second"], "short.txt: no response of the speaker who talks second"),
    ],
)
def test_a_mistake_is_one_line(run, settings_file, tmp_path, arguments, words) -> None:
    (tmp_path / "bad.txt").write_text("nothing\n")
    (tmp_path / "self.txt").write_text("1 your persona: i ski .\n2 a\tb\n")
    (tmp_path / "short.txt").write_text("1 your persona: i ski .\n2 partner's persona: b .\n3 __SILENCE__\tb\n")
    outcome = run(evaluate.main, "--env", settings_file, *(part.format(tmp=tmp_path) for part in arguments))
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


def test_before_any_training(run, write_settings, tmp_path) -> None:
    outcome = run(evaluate.main, "--env", write_settings(save_path=tmp_path / "empty"))
    assert outcome.status == 2
    assert re.search(r"no trained model there yet; run `\S.*python\S* train\.py --env .*` first", outcome.err)


def test_recorded_failures_are_answered_anew(run, settings_file, tmp_path, nli_folder) -> None:
    folder = tmp_path / "talks"
    folder.mkdir()
    written(folder, pair(), pair(prompt=messages("why ?", persona="i sing .")))
    model = tmp_path / "save" / "checkpoint" / "model"
    options = ["--failures", folder, "--compare", model, tmp_path / "save", "--nli", nli_folder]
    outcome = run(evaluate.main, "--env", settings_file, *options)
    assert outcome.status == 0, outcome.err
    (path,) = (tmp_path / "save" / "samples").iterdir()
    assert re.fullmatch(r"failures-talks-save-save-[0-9a-f]{8}\.json", path.name)
    assert f"figures in {path}" in outcome.out
    figures = json.loads(path.read_text())
    assert figures["all"]["a"] == figures["all"]["b"]
    assert figures["all"]["differences"]["c_score"] == {"difference": 0, "low": 0, "high": 0}
    assert figures["nli"] == str(nli_folder)
    assert "held_back" not in figures
    assert run(evaluate.main, "--env", settings_file, "--failures", folder).status == 0
    assert len(list(path.parent.iterdir())) == 2


def test_mistakes_with_failures(run, settings_file, tmp_path) -> None:
    refused = run(evaluate.main, "--env", settings_file, "--failures", tmp_path, "--side", "first")
    assert refused.line == "error: --failures reads recorded failures: leave out --side"
    empty = run(evaluate.main, "--env", settings_file, "--failures", tmp_path)
    assert empty.status == 2
    assert empty.line.startswith(f"error: {tmp_path}: no failure here: no preferences.jsonl and no feedback.jsonl")
