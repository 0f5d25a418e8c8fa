"""The model card of a saved model: its README.md, which the model hub and people read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from transformers import PreTrainedTokenizerFast

from personagpt.errors import UserError
from personagpt.files import read_json, write_atomically
from personagpt.model.folders import STATE
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import Sampling
from personagpt.output import markdown
from personagpt.scoring.definitions import METRICS
from personagpt.scoring.published import by_turn, has_published_vocabulary, is_published_text
from personagpt.sequences.dataset import tensor_metadata
from personagpt.sequences.goals import read_goals
from personagpt.settings import PATHS, VALUE_TYPES, Settings
from personagpt.text.style import Style, Writing, read_style
from personagpt.training.resume import data_identity

# The hub's copy of ConvAI2's Persona-Chat text: 17,878 dialogues to train on and 1,000 to validate. (`conv_ai_2` is
# another data set there: talks of people with the competition's programs.)
HUB_CONVAI2 = "AlekseyKorshuk/persona-chat"
MOVED = ("save_path", "data_path")  # the settings that say where a run's files lie today
METRIC_NAMES = [metric.name for metric in METRICS]

TEMPLATE = Path(__file__).with_name("model_card.md")
GOALS = """
It was trained on goals for its next reply, and `chat(messages, tokenizer_encode_kwargs={{"goal": "{first}"}})` gives it
one of them: {goals}
"""


def write_card(
    folder: Path,
    settings: Settings,
    tokenizer: PreTrainedTokenizerFast,
    context_length: int,
    step: int,
    evaluation: dict[str, Any] | None,
) -> None:
    """Write `folder`/README.md: metadata for the model hub, and the card for people.

    `context_length` is the model's number of positions; `evaluation` is the content of eval.json, None without any.
    """
    local = Path(settings.model_name).is_absolute()
    base = Path(settings.model_name).name if local else settings.model_name
    title = f"{base} with a persona"
    data_name, data_id = _data(settings)
    results = [
        EvalResult("text-generation", data_id, f"{data_name}, validation", name, evaluation[name], metric_name=name)
        for name in METRIC_NAMES
        if evaluation and name in evaluation
    ]
    metadata = ModelCardData(
        base_model=None if local or settings.init == "random" else base,
        # No license: its owner gives one, and the text's and the base's owners have a say in it.
        # ConvAI2 is English. Nobody says what language another text has.
        language="en" if data_id == HUB_CONVAI2 else None,
        datasets=[data_id] if data_id == HUB_CONVAI2 else None,
        metrics=["perplexity", "f1"] if results else None,
        pipeline_tag="text-generation",
        library_name="transformers",
        tags=["conversational", "persona", "personagpt", "dialogue"],
        model_name=title if results else None,
        eval_results=results or None,
    )
    kept = {key: value for key, value in settings.plain().items() if key not in PATHS}
    sampling = Sampling()
    style = read_style(folder)
    facts, said = ("I have two dogs.", "I work as a nurse."), "Hi! What do you do for a living?"
    if style:
        facts, said = map(style.facts.bring, facts), style.utterances.bring(said)
    comparable = data_id == HUB_CONVAI2 and has_published_vocabulary(tokenizer)
    text = TEMPLATE.read_text("utf-8").format(
        title=title,
        base=f"the architecture of {base}, with fresh weights" if settings.init == "random" else base,
        data=data_name,
        step=f"{step:,}",
        context=context_length,
        sampling=f"top-k {sampling.top_k}, top-p {sampling.top_p}, at most {sampling.max_new_tokens} new tokens",
        scores=_scores(evaluation, comparable),
        style=_style_in_words(style),
        facts="\\n".join(facts),
        utterance=said,
        settings=markdown(("setting", "value"), *kept.items()),
        goals=_goals(settings),
    )
    # A file that a kill leaves half-written lies beside the folder, so that it is not uploaded with the model.
    card = f"---\n{metadata.to_yaml()}\n---\n\n{text}"
    write_atomically(folder / "README.md", card, beside=folder.parent / "README.md")


def update_card(trained: TrainedModel, today: Settings, evaluation: dict[str, Any]) -> None:
    """Write `evaluation` into the card of a run's checkpoint, beside the settings that the run was trained with.

    The card stays as it is where the evaluation is of another text than the run's validation text, or the checkpoint
    is gone. `today` is the settings of the evaluation.
    """
    saved = read_json(trained.folder / STATE) or {}
    try:
        then = {key: value for key, value in saved["settings"].items() if key in VALUE_TYPES and key not in MOVED}
        if not Path(then["goals"]).is_file():  # none, or a file that lies elsewhere today
            then["goals"] = then["goals"] and today.goals
        settings = replace(today, **then)
        origin = evaluation["text_sha256"], trained.tokenizer, settings.max_turns, trained.context_length
        validation = data_identity(tensor_metadata(*origin, read_goals(settings.goals)))
        is_same_text = validation == saved["identity"]["validation_data"]
    except (KeyError, TypeError, AttributeError, UserError):
        return
    if is_same_text and trained.folder.is_dir():  # a training run may have removed the checkpoint meanwhile
        write_card(trained.folder, settings, trained.tokenizer, trained.context_length, saved["step"], evaluation)


def _data(settings: Settings) -> tuple[str, str]:
    """Return the data set's name and its id on the hub. The id of a text other than ConvAI2's is its folder's name."""
    if is_published_text(settings.text("valid")):
        return "ConvAI2 (Persona-Chat)", HUB_CONVAI2
    return f"persona dialogues ({settings.data_path.name})", settings.data_path.name


def _goals(settings: Settings) -> str:
    """Return the sentence on the model's goals; nothing without goals, or where their file is gone."""
    try:
        goals = read_goals(settings.goals)
    except UserError:
        return ""
    return GOALS.format(first=goals[0].text, goals=", ".join(f"`{goal.text}`" for goal in goals)) if goals else ""


def _style_in_words(style: Style | None) -> str:
    """Return a sentence and the space after it; nothing where the style was not measured."""
    if style is None:
        return ""
    facts, utterances = map(_writing_in_words, (style.facts, style.utterances))
    text = f"text in {facts}" if facts == utterances else f"utterances in {utterances}, and from facts in {facts}"
    return f"It learned from {text}: write to it the same way. "


def _writing_in_words(writing: Writing) -> str:
    case = "lower case" if writing.is_lower else "upper and lower case"
    inside, at_end = ({" ": "with", "": "without", None: "with and without"}[gap] for gap in writing.gaps)
    last = f", {at_end} one before the last" if at_end != inside else ""
    return f"{case}, {inside} spaces before punctuation marks{last}"


def _scores(evaluation: dict[str, Any] | None, comparable: bool) -> str:
    if not evaluation:
        return "Not evaluated yet."
    rows = {name: f"{evaluation[name]:.4g}" for name in METRIC_NAMES if name in evaluation}
    step = f"at step {evaluation['step']:,}, " if "step" in evaluation else ""
    published = (
        f"PersonaGPT's published figures are about {by_turn(10.2):.1f} by `turn_perplexity` (10.2 as published, over "
        "two <eos> a response) and 43.4 % by `token_f1`. TransferTransfo's and P2Bot's published F1, 19.09 % and "
        "19.77 %, count generated words, as `word_f1` does.\n"
    )
    return (
        f"On {evaluation['responses']:,} held-out responses, {step}as fractions:\n\n"
        f"{markdown(('metric', 'value'), *rows.items())}\n\n{published if comparable else ''}"
        "On `token_f1` an untrained model, which predicts the token that it has just read, scores about 0.7, and a "
        "trained model may score less. The figure to trust is `word_f1`, of generated replies."
        f"{_interviews(evaluation.get('interviews', {}))}"
    )


def _interviews(interviews: dict[str, Any]) -> str:
    """Return in a table how often an interviewer knew the partner's persona at the end; nothing without interviews."""
    rows = {}
    for name, figures in interviews.items():
        last = figures["by_question"][-1]
        rows[f"{name}, {last['questions']} questions, 1 of {figures['among']}"] = f"{last['persona_at_1']['value']:.4g}"
    if not rows:
        return ""
    table = markdown(("interview", "persona_at_1"), *rows.items())
    return f"\n\nHow often an interviewer tells the partner's persona from others:\n\n{table}"
