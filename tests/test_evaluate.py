"""evaluate.py, candidates.py and the metrics of generated replies: by hand, and against slow computations."""

import argparse
import contextlib
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluate
import preprocess_dataset
from personagpt.model.generation import ReplyRequest, fit_context, generate_replies
from personagpt.model.loading import STATE, load_model
from personagpt.scoring import metrics, published
from personagpt.scoring.candidates import Choice, ChoicePass, choice_passes, hits_at_1, is_hit, pass_scores
from personagpt.scoring.metrics import distinct, generated_metrics, teacher_forced, teacher_forced_metrics, word_f1
from personagpt.scoring.tally import Tally
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import parse_corpus, read_corpus
from personagpt.training.checkpoint import redirect_link

PLAIN = contextlib.nullcontext()
TEXT = """\
1 your persona: i have two dogs.
2 your persona: i work as a nurse.
3 partner's persona: i like rap music .
4 hi ! how are you ?\tgreat . just walking my dogs .\t\ti like tea.|no|great . just walking my dogs .
5 nice ! what do you do ?\ti am a nurse .\t\twonderful ! i am a nurse , and i like it .||i am a nurse .
1 your persona: i am old.
2 partner's persona: i play the banjo.
3 __SILENCE__\thello !\t\tbye .|hello !
4 hello , who are you ?\ti am called tom.\t\ti am called tom.|my name is ann .|i am called tom.
"""


@pytest.fixture(scope="module")
def encoder(tokenizer) -> Encoder:
    return Encoder(tokenizer)


@pytest.fixture
def text(tmp_path):  # noqa: ANN201
    path = tmp_path / "cands.txt"
    path.write_text(TEXT)
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


def dataset_of(data: bytes, encoder: Encoder, context: int) -> PersonaChatDataset:
    return PersonaChatDataset.from_tensors(encode_corpus(parse_corpus(data, "t"), encoder, 20, context, "t"), context)


def figure(name: str, tally: Tally) -> float:
    return next(metric for metric in metrics.METRICS if metric.name == name).figure(tally)


def slow_mean_log_likelihood(model, context: list[int], candidate: list[int]) -> float:
    """One forward pass over context and candidate, without a cache or a batch."""
    with torch.no_grad():
        log_probabilities = model(torch.tensor([context + candidate])).logits[0].double().log_softmax(1)
    places = range(len(context) - 1, len(context) + len(candidate) - 1)
    return float(np.mean([log_probabilities[place, token] for place, token in zip(places, candidate, strict=True)]))


@pytest.mark.parametrize("context", [320, 48])  # the whole talk fits; it does not, and is cut
def test_candidate_scores_equal_a_pass_for_each_candidate(tiny_model, encoder, context) -> None:
    tiny_model.eval()
    corpus = parse_corpus(TEXT.encode(), "t")
    passes = choice_passes(corpus, encoder, 20, context)
    assert sum(len(choice_pass.choices) for choice_pass in passes) == 4
    for choice_pass in passes:
        for choice, scores in zip(choice_pass.choices, pass_scores(tiny_model, choice_pass), strict=True):
            before = choice_pass.tokens[: choice.start]
            slow = [slow_mean_log_likelihood(tiny_model, before, ids) for ids in choice.candidates]
            np.testing.assert_allclose(scores, slow, atol=1e-5)
            assert max(map(len, choice.candidates)) + len(before) <= context + 1


def test_a_turn_s_context_and_candidates_by_hand(encoder) -> None:
    passes = choice_passes(parse_corpus(TEXT.encode(), "t"), encoder, 20, 320)
    facts, said = ["i have two dogs.", "i work as a nurse."], ["hi ! how are you ?", "great . just walking my dogs ."]
    first, second = passes[0].choices
    assert passes[0].tokens[: first.start] == encoder.context(1, facts, said[:1], 320)
    assert passes[0].tokens[: second.start] == encoder.context(1, facts, [*said, "nice ! what do you do ?"], 320)
    assert first.candidates[-1] == [*encoder.texts(["great . just walking my dogs ."])[0], encoder.eos]
    assert second.candidates[1] == [encoder.eos]  # an empty candidate
    assert passes[1].tokens[: passes[1].choices[0].start] == encoder.context(0, ["i am old."], [], 320)
    assert [
        len(choice_pass.choices) for choice_pass in choice_passes(parse_corpus(TEXT.encode(), "t"), encoder, 2, 320)
    ] == [1, 1]


def test_a_context_goes_as_far_back_as_the_longest_candidate_leaves_room(encoder) -> None:
    """A candidate's last token is no input, so context and candidate may have one token more than the model reads."""
    text = "1 your persona: i ski .\n2 a b c\td e f\n3 g h i\tj k l\t\tm n o p q r s|j k l\n"
    ids = encoder.texts(["a b c", "d e f", "g h i", "m n o p q r s"])
    whole = encoder.context(1, ["i ski ."], ["a b c", "d e f", "g h i"], 320)
    longest = len(ids[3]) + 1
    for context, begins in ((len(whole) + longest - 1, 0), (len(whole) + longest - 2, 1)):
        (found,) = choice_passes(parse_corpus(text.encode(), "t"), encoder, 20, context)
        assert found.tokens == encoder.context(1, ["i ski ."], ["a b c", "d e f", "g h i"][begins:], 320)
        assert found.choices == [Choice(len(found.tokens), [[*ids[3], encoder.eos], found.choices[0].candidates[1]], 4)]


def test_a_candidate_longer_than_the_context_is_cut(encoder, tiny_model) -> None:
    text = f"1 your persona: i ski .\n2 a\tb\t\t{'dogs ' * 60}|b\n"
    (found,) = choice_passes(parse_corpus(text.encode(), "t"), encoder, 20, 40)
    prefix = encoder.prefix(1, encoder.texts(["i ski ."]))
    (dogs,) = encoder.texts(["dogs " * 60])
    assert found.choices[0].candidates[0] == dogs[: 40 - len(prefix)]
    assert found.tokens == prefix  # nothing else fits
    assert len(pass_scores(tiny_model.eval(), found)[0]) == 2


def test_hits_at_1_by_hand(tiny_model, encoder) -> None:
    assert is_hit([-2.0, -1.0])
    assert is_hit([-1.0, -2.0, -1.0])  # the true one stood twice
    assert not is_hit([-1.0, -2.0])
    choice_pass = ChoicePass([7, 8, 9], [Choice(3, [[10, 11], [12]])])
    worse, better = pass_scores(tiny_model.eval(), choice_pass)[0]
    swapped = ChoicePass([7, 8, 9], [Choice(3, [[12], [10, 11]])])
    found = hits_at_1(tiny_model, [choice_pass, swapped, swapped], PLAIN)
    assert found.values.tolist() == ([1, 0, 0] if better > worse else [0, 1, 1])
    assert found.weights.tolist() == [1, 1, 1]


def test_no_candidates_no_talks(encoder, sample) -> None:
    assert choice_passes(read_corpus(sample / "valid_both_original_no_cands.txt"), encoder, 20, 320) == []


def test_generated_metrics_equal_one_reply_at_a_time(tiny_model, encoder) -> None:
    dataset = dataset_of(TEXT.encode(), encoder, 320)
    pairs = []  # reply, human
    for index in range(len(dataset)):
        tokens, spans = dataset.sequence(index)
        for start, end in spans:
            reply = generate_replies(tiny_model, encoder, [ReplyRequest(tokens[:start].tolist())], PLAIN)[0]
            pairs.append((reply, encoder.decode_reply(tokens[start:end].tolist())))
    assert [human for _, human in pairs[:2]] == ["hi ! how are you ?", "nice ! what do you do ?"]
    pairs = pairs[:5]
    found = generated_metrics(tiny_model, dataset, encoder, PLAIN, 5)
    assert found["word_f1"].values.tolist() == pytest.approx([word_f1(*pair) for pair in pairs])
    assert found["word_f1"].places.turns.tolist() == [1, 3, 2, 4, 1]
    for n in (1, 2):
        name = f"distinct_{n}"
        assert figure(name, found[name]) == distinct([reply for reply, _ in pairs], n)
        first = found[name].places.turns == 1
        assert figure(name, found[name][first]) == distinct([pairs[0][0], pairs[4][0]], n)
    assert len(generated_metrics(tiny_model, dataset, encoder, PLAIN, 1000)["word_f1"]) == 7


@pytest.mark.parametrize(
    ("first", "repeated"),
    [("hello !", [0, 0, 0, 0, 0, 1, 0]), ("hi ! how are you ?", [0, 1, 0, 0, 0, 0, 0])],
)
def test_a_reply_repeats_its_own_speaker_only(
    tiny_model, encoder, monkeypatch, first: str, repeated: list[int]
) -> None:
    """Always the same reply: in one dialogue the first speaker said it before, in its first utterance."""
    text = TEXT.replace(first, "so i am called tom now")
    monkeypatch.setattr(
        metrics, "generate_replies", lambda model, encoder, drafts, *others: ["i am called tom"] * len(drafts)
    )
    found = generated_metrics(tiny_model, dataset_of(text.encode(), encoder, 320), encoder, PLAIN, 100)["repeat_rate"]
    assert found.places.turns.tolist() == [1, 3, 2, 4, 1, 3, 2]
    assert found.values.tolist() == repeated


def test_generated_metrics_of_talks_that_fill_the_context(base, tokenizer, encoder) -> None:
    model = load_model(str(base), len(tokenizer))
    model.config.n_positions = 80  # room for 40 tokens before a reply
    dataset = dataset_of(TEXT.encode(), encoder, 80)
    assert generated_metrics(model, dataset, encoder, PLAIN, 100)["word_f1"].places.turns.tolist() == [
        1,
        3,
        2,
        4,
        1,
        3,
        2,
    ]


def test_a_reply_s_context_is_cut_by_no_more_than_the_reply_needs(tiny_model, encoder, monkeypatch) -> None:
    dataset = dataset_of(TEXT.encode(), encoder, 320)
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    whole = [tokens[:start].tolist() for tokens, spans in sequences for start, _ in spans]
    longest = max(map(len, whole))
    asked: list[list[int]] = []

    def listen(model: object, encoder: Encoder, drafts: list[ReplyRequest], *rest: object) -> list[str]:
        asked.extend(draft.context for draft in drafts)
        return [""] * len(drafts)

    monkeypatch.setattr(metrics, "generate_replies", listen)
    for room in (longest, longest - 1):
        asked.clear()
        tiny_model.config.n_positions = room + 40
        generated_metrics(tiny_model, dataset, encoder, PLAIN, 100)
        assert sorted(asked) == sorted(fit_context(ids, encoder, room) for ids in whole)
        assert (sorted(asked) == sorted(whole)) == (room == longest)


def test_persona_gain_leaves_out_what_cannot_fit_under_the_other_persona(tiny_model, encoder) -> None:
    """The next dialogue's persona fills the context, so not even one utterance fits after it."""
    long = " ".join(["dogs"] * 30)
    text = f"1 your persona: i am old.\n2 a\tb c d e f g h i j\n1 your persona: {long}\n2 a\tb\n".encode()
    own = [len(ids) for ids, _ in map(dataset_of(text, encoder, 320).sequence, range(2))]
    dataset = dataset_of(text, encoder, max(own))
    exchanged = metrics.exchange_personas(
        [dataset.sequence(index) for index in range(2)], dataset.tensors.dialogues, encoder, max(own)
    )
    assert [len(spans) for (_, spans), _ in exchanged] == [0, 1]
    assert [dropped for _, dropped in exchanged] == [1, 0]
    assert all(len(tokens) <= max(own) and (spans <= len(tokens)).all() for (tokens, spans), _ in exchanged)
    assert teacher_forced_metrics(tiny_model, dataset, encoder, PLAIN)["persona_gain"] > 0


def test_evaluate_prints_and_writes_what_the_functions_compute(
    run, settings_file, tmp_path, tiny_model, encoder
) -> None:
    outcome = run(evaluate.main, "--env", settings_file)
    assert (outcome.status, outcome.err.split("\r")[-1].strip()) == (0, "")
    found = json.loads((tmp_path / "save" / "samples" / "eval.json").read_text())
    text = tmp_path / "data" / "valid_both_original_no_cands.txt"
    expected = teacher_forced_metrics(tiny_model, dataset_of(text.read_bytes(), encoder, 320), encoder, PLAIN)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert set(found) - set(expected) == {"model", "model_checksum", "text", "text_sha256"}
    assert f"perplexity{found['perplexity']:>15.2f}" in outcome.out
    assert "published" not in outcome.out  # another text, and another vocabulary


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


def test_published_figures_stand_beside_their_text_and_vocabulary_only(
    run, settings_file, monkeypatch, real_tokenizer, tokenizer, tmp_path
) -> None:
    assert published.has_published_vocabulary(real_tokenizer)
    assert not published.has_published_vocabulary(tokenizer)
    plain, with_candidates = tmp_path / "plain.txt", tmp_path / "candidates.txt"
    plain.write_text("1 your persona: x\n2 a\tb\n")
    with_candidates.write_text("1 your persona: x\n2 a\tb\t\tc|b\n")
    monkeypatch.setattr(published, "CONVAI2_VALID_MD5", hashlib.md5(plain.read_bytes()).hexdigest())
    assert published.is_published_text(plain)
    assert published.is_published_text(with_candidates)
    assert not published.is_published_text(tmp_path / "absent.txt")
    metrics = {"loss": 1.0, "turn_perplexity": 2.0, "token_f1": 0.5, "responses": 3, "response_tokens": 4}
    assert "published" not in evaluate.table(metrics, comparable=False)
    shown = evaluate.table(metrics, comparable=True)
    for figures in ("10.2     43.4 %", "11.4     22.7 %", "16.3     19.5 %"):
        assert figures in shown
    assert "word_f1 (--generate N), of whole generated replies, is the one to trust." in shown


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "eval.json"),
        ({"model": "af1tang/personaGPT"}, "eval-af1tang--personaGPT.json"),
        ({"model": "checkpoint/best/"}, "eval-best.json"),
        ({"text": Path("a/valid_both_original.txt")}, "eval-valid_both_original.json"),
        ({"model": "m", "text": Path("t.txt")}, "eval-m-t.json"),
        ({"compare": ["checkpoint/best", "a/b"], "text": Path("t.txt")}, "compare-best-a--b-t.json"),
    ],
)
def test_another_model_or_text_writes_beside_the_run_s_eval_json(options, name, tmp_path, monkeypatch) -> None:
    (tmp_path / "checkpoint" / "best").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert evaluate.file_name(argparse.Namespace(**{"model": None, "text": None, "compare": None} | options)) == name


@pytest.mark.parametrize("removed", [False, True])
def test_a_checkpoint_saved_meanwhile_gets_no_scores_of_another(
    run, settings_file, tmp_path, monkeypatch, removed
) -> None:
    """Training beside it saves step 4 while step 2 is scored, and then removes step 2."""
    folder = tmp_path / "save" / "checkpoint"
    old, new = folder / "step-00000002", folder / "step-00000004"
    (folder / "model").rename(old)
    (old / STATE).write_text('{"step": 2}')
    new.mkdir()
    redirect_link(folder / "model", old.name)

    def score_meanwhile(*arguments: object) -> dict[str, Tally]:
        redirect_link(folder / "model", new.name)
        if removed:
            shutil.rmtree(old)
        return teacher_forced(*arguments)

    monkeypatch.setattr(evaluate, "teacher_forced", score_meanwhile)
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
    written = json.loads((tmp_path / "save" / "samples" / "compare-model-model-cands.json").read_text())
    assert run(evaluate.main, *options, "--out", tmp_path / "alone.json").status == 0
    alone = json.loads((tmp_path / "alone.json").read_text())
    assert written["a"] == written["b"]
    assert {key: value for key, value in written["a"].items() if key != "word_perplexity"} == alone
    assert written["same_vocabulary"]
    zero = {"difference": 0.0, "low": 0.0, "high": 0.0}
    names = {name for name in (metric.name for metric in metrics.METRICS) if name in written["a"]}
    assert {"loss", "hits_at_1", "persona_mrr", "word_f1", "repeat_rate", "word_perplexity"} < names
    without = {name: {"difference": 0.0} for name in ("distinct_1", "distinct_2")}
    assert written["differences"] == dict.fromkeys(names, zero) | without
    assert re.search(r"^word_f1 .* \+0\.0 %   \+0\.0 % to \+0\.0 %$", outcome.out, re.MULTILINE)
    assert "different tokens" not in outcome.out


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
    assert "word_perplexity,\nof the same words for both" in outcome.out
    written = json.loads(out.read_text())
    assert not written["same_vocabulary"]
    assert set(written["differences"]) == {"word_perplexity", "hits_at_1"}
    assert written["a"]["response_tokens"] > written["b"]["response_tokens"]
    assert re.search(r"^perplexity +[\d.]+ +[\d.]+$", outcome.out, re.MULTILINE)


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
        (["--generate", "-1"], "expected a number of replies"),
        (["--out", "{tmp}/data"], "/data: a folder; name a file in it"),
        (["--text", "{tmp}/bad.txt"], "bad.txt:1: no line number"),
    ],
)
def test_a_mistake_is_one_line(run, settings_file, tmp_path, arguments, words) -> None:
    (tmp_path / "bad.txt").write_text("nothing\n")
    outcome = run(evaluate.main, "--env", settings_file, *(part.format(tmp=tmp_path) for part in arguments))
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


def test_before_any_training(run, write_settings, tmp_path) -> None:
    outcome = run(evaluate.main, "--env", write_settings(save_path=tmp_path / "empty"))
    assert outcome.status == 2
    assert re.search(r"no trained model there yet; run `\S.*python\S* train\.py --env .*` first", outcome.err)
