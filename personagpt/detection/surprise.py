"""How much the utterances of a side surprise a language model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from personagpt.detection.sides import TalkSide
from personagpt.model.cpu_products import product
from personagpt.model.decoders import hidden_states, output_matrix
from personagpt.model.gpt2 import evaluation_mode
from personagpt.model.loading import TrainedModel
from personagpt.scoring.metrics import LabelledTokens, by_length, score_in_memory
from personagpt.sequences.batches import Batch
from personagpt.sequences.format import side_sequences

ROWS = 256  # of the table of logits that is in memory at a time


class Surprise(NamedTuple):
    """A model's surprise at an utterance of n tokens, its end included; all logarithms are natural."""

    nats: float  # mean negative log-likelihood of a token
    rank: float  # mean logarithm of a token's rank: 0 if the model expects every token most
    curvature: float  # (sum of nll - sum of entropies) / root of the sum of variances of the nll (Bao et al. 2024)
    end: float  # negative log-likelihood of the end

    @classmethod
    def of(cls, nll: np.ndarray, rank: np.ndarray, entropy: np.ndarray, variance: np.ndarray) -> Surprise:
        """Return the surprise from the figures (n,) of the utterance's tokens."""
        above = float((nll - entropy).sum(dtype=np.float64))
        spread = float(np.sqrt(max(1e-6, variance.sum(dtype=np.float64))))
        return cls(
            float(nll.mean(dtype=np.float64)), float(rank.mean(dtype=np.float64)), above / spread, float(nll[-1])
        )


def surprises_of(trained: TrainedModel, sides: list[TalkSide], count: int) -> list[list[Surprise]]:
    """Return for each side the model's surprise at each of its first `count` counted utterances.

    The model reads the talk from the speaker's first utterance on, as if every speaker talked first. Otherwise its
    surprise would tell who did. It reads no persona: without personas it tells programs from people a little better
    (docs/detect.md). Where an utterance exceeds the context, its end is cut.
    """
    sequences, sizes = [], []
    for side in sides:
        parts = _sequences(trained, side, count)
        sequences += parts
        sizes.append(len(parts))
    scores = iter(_scores(trained, sequences))
    return [[surprise for _ in range(size) for surprise in next(scores)][1:] for size in sizes]


def _scores(trained: TrainedModel, sequences: list[LabelledTokens]) -> list[list[Surprise]]:
    """Return the surprise at each response of each sequence."""
    scores: list[list[Surprise]] = [[] for _ in sequences]
    with evaluation_mode(trained.model), torch.inference_mode(), trained.autocast:
        batches = list(by_length(sequences, trained.model.device.type))
        for indices in tqdm(batches, desc="score", unit="batch", leave=False, disable=None):
            chosen = [sequences[index] for index in indices]
            figures = score_in_memory(trained.model, chosen, token_figures)
            start = 0
            for index, (_, spans) in zip(indices, chosen, strict=True):
                for size in (spans[:, 1] - spans[:, 0]).tolist():
                    scores[index].append(Surprise.of(*(figure[start : start + size] for figure in figures)))
                    start += size
    return scores


def token_figures(model: torch.nn.Module, batch: Batch) -> tuple[np.ndarray, ...]:
    """Return of each of the batch's N labels the nll, the logarithm of the rank; of its place, entropy and variance.

    Entropy and variance are the mean and the variance of the nll of a token that the model draws in this place.
    """
    hidden = hidden_states(model, batch.input_ids, batch.label_index)  # (N, C)
    weight, columns = output_matrix(model), []
    for piece, true in zip(hidden.split(ROWS), batch.targets.split(ROWS), strict=True):
        log_p = product(piece, weight.T).float().log_softmax(1)  # (n, V)
        nll = -log_p.gather(1, true[:, None])
        rank = (log_p > -nll).sum(1) + 1
        p = log_p.exp()
        entropy = -(p * log_p.clamp_min(-1e4)).sum(1)
        square = (p * log_p.clamp_min(-1e4).square()).sum(1)
        columns.append(torch.stack([nll[:, 0], rank.log(), entropy, square - entropy.square()]))
    return tuple(torch.cat(columns, 1).cpu().numpy())


def _sequences(trained: TrainedModel, side: TalkSide, count: int) -> list[LabelledTokens]:
    """Return a side's sequences up to counted utterance number `count`. The first utterance is labelled, too.

    A base that was never trained on personas does not know the format's tokens. It gets the utterances, a line each,
    after its <eos>.
    """
    encoder, limit, end = trained.encoder, trained.context_length, trained.encoder.eos
    if trained.knows_format:
        prefix = encoder.prefix(0, [])
    else:
        prefix, line_end = [end], encoder.texts(["\n"])[0]
        end = line_end[0] if len(line_end) == 1 else end
    room = limit - len(prefix) - 1  # for an utterance without its <eos>
    utterances = [ids[:room] for ids in encoder.texts(list(side.utterances[side.speaker :][: 2 * count + 1]))]
    parts = side_sequences(prefix, utterances, 0, end, limit)
    return [(np.array(tokens), np.array(spans)) for tokens, spans in parts]
