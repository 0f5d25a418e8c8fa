"""How often does the interval of detect.py's AUC hold the true AUC? On simulated markers, of which the truth is known.

    python -m bench.detector_coverage            # 200 simulated tables of markers for each case; 5 minutes on one core
    python -m bench.detector_coverage --talks save/conversations    # halves of recorded talks; 35 minutes

Prints, for each case, the true AUC, the mean of the estimates, and the share of intervals that hold the true AUC. The
truth is the mean AUC, on endless new talks, of detectors that learn from four fifths of a table.

With --talks the truth is not known. Each of 100 times, the sides of the talks are cut into two halves that share no
talk, no persona and no participant. The first half gives the interval, as detect.py does, for three utterances as
written, from n-grams and markers without a model's surprise. The second half gives two AUCs: its own, cross-validated
in the same way, and that of a detector that learnt from the whole first half. Both vary from half to half, so that an
interval that holds the mean AUC 95 times in 100 may hold them less often.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from personagpt.detection.detectors import Detector
from personagpt.detection.learning import Material, learn
from personagpt.detection.markers import available_markers, marker_values
from personagpt.detection.ngrams import Counted
from personagpt.detection.sides import LeftOut, TalkSide, long_enough, sides_of_talks
from personagpt.detection.surprise import Surprise
from personagpt.detection.validation import cross_validate, labels_of
from personagpt.output import say
from personagpt.records.database import NAME, Recordings

SEEN = 3  # utterances of a side, with --talks
OF_A_MODEL = {"surprise", "surprise_spread", "rank", "curvature", "end"}  # markers
MARKERS = [f"marker {number}" for number in range(11)]
# Sides of each kind, personas they share, distance of the kinds in one marker, share of variance between personas.
CASES = {
    "30 talks a class, nothing to tell": (30, 30, 0.0, 0.0),
    "30 talks a class, a weak marker": (30, 30, 1.0, 0.0),
    "30 talks a class, a strong marker": (30, 30, 3.0, 0.0),
    "100 talks a class, nothing to tell": (100, 100, 0.0, 0.0),
    "100 talks a class, a weak marker": (100, 100, 1.0, 0.0),
    "40 talks, 8 personas a class, nothing to tell": (40, 8, 0.0, 0.5),
    "40 talks, 8 personas a class, a strong marker": (40, 8, 3.0, 0.5),
}


def simulated(
    count: int, personas: int, distance: float, shared: float, random: np.random.RandomState
) -> tuple[list[TalkSide], np.ndarray]:
    """Return the sides of `count` programs and `count` people, and their markers (S, M)."""
    is_program = np.arange(2 * count) < count
    persona = np.arange(2 * count) % personas + personas * ~is_program
    values = math.sqrt(shared) * random.normal(size=(2 * personas, len(MARKERS)))[persona]
    values += math.sqrt(1 - shared) * random.normal(size=values.shape)
    values[:, 0] += distance * is_program
    rows = enumerate(zip(is_program.tolist(), persona.tolist(), strict=True))
    return [TalkSide(f"talk {i}", 0, kind, (f"persona {facts}",), ("a", "b")) for i, (kind, facts) in rows], values


def true_auc(count: int, personas: int, distance: float, shared: float, random: np.random.RandomState) -> float:
    """Return the mean AUC on endless new talks. Both kinds' logits are normal, so it is Phi(distance / sqrt(2))."""
    aucs = []
    for _ in range(200 if distance else 0):
        learnt = (4 * count // 5, max(1, 4 * personas // 5), distance, shared, random)
        sides, values = simulated(*learnt)
        detector = Detector.fit(MARKERS, values, np.array([side.is_program for side in sides]))
        weights = detector.weights / detector.scale
        aucs.append(0.5 * (1 + math.erf(distance * weights[0] / np.linalg.norm(weights) / 2)))
    return float(np.mean(aucs)) if aucs else 0.5


def material_of_talks(folder: Path) -> Material:
    """Return what there is to learn from of the recorded talks: n-grams, and the markers that need no model."""
    sides, _ = long_enough(sides_of_talks(Recordings(folder).talks())[0], LeftOut(), SEEN)
    markers = [name for name in available_markers(sides) if name not in OF_A_MODEL]
    unread = [[Surprise(0.0, 0.0, 0.0, 0.0)] * SEEN] * len(sides)
    return Material.of(sides, markers, {SEEN: marker_values(sides, unread, SEEN, markers)})


def halves(sides: list[TalkSide], random: np.random.RandomState) -> list[np.ndarray]:
    """Return the indices of two halves of the sides that share no talk, no persona and no participant.

    In a drawn order, each side joins the half that has one of its keys, or else the half with fewer sides of its kind.
    A side with keys in both halves is left out.
    """
    half_of: dict[str, int] = {}
    found, sizes = ([], []), np.zeros((2, 2), int)  # sizes: kind, half
    for index in random.permutation(len(sides)).tolist():
        keys, kind = sides[index].keys.values(), int(sides[index].is_program)
        known = {half_of[key] for key in keys if key in half_of}
        if len(known) < 2:
            half = known.pop() if known else int(sizes[kind].argmin())
            half_of |= dict.fromkeys(keys, half)
            found[half].append(index)
            sizes[kind, half] += 1
    return [np.array(half) for half in found]


def part_of(material: Material, chosen: np.ndarray) -> Material:
    """Return the material of the sides with the indices `chosen` (C,)."""
    rows = np.concatenate([np.arange(*material.starts[index : index + 2]) for index in chosen])
    starts = np.cumsum([0, *np.diff(material.starts)[chosen]])
    return replace(
        material,
        sides=[material.sides[index] for index in chosen],
        values={seen: values[chosen] for seen, values in material.values.items()},
        counted=Counted(material.counted.counts[rows], material.counted.names),
        starts=starts,
    )


def say_resplits(material: Material, count: int) -> None:
    """Print for each resplit the first half's interval and the second half's AUCs, and in the end how many hold."""
    from sklearn.metrics import roc_auc_score

    labels, holds = labels_of(material.sides), []
    say("         sides of     first half             second half: its own   the first half's")
    say("resplit   the halves     AUC   interval                       AUC      detector's AUC")
    for number in range(1, count + 1):
        first, second = halves(material.sides, np.random.RandomState(number))
        found = cross_validate(part_of(material, first), number)[0]
        own = cross_validate(part_of(material, second), number)[0].auc
        logits = learn(material, first, labels, number).logits(material, second)[0]
        aucs = (own, roc_auc_score(labels[second], logits))
        holds.append([found.low is not None and found.low <= auc <= found.high for auc in aucs])
        interval = "none" if found.low is None else f"{found.low:.3f} to {found.high:.3f}"
        sizes = f"{len(first)}, {len(second)}"
        say(f"{number:>7}   {sizes:<10}{found.auc:>8.3f}   {interval:<16}{aucs[0]:>18.3f}{aucs[1]:>20.3f}")
    for name, times in zip(("own AUC", "AUC of the first half's detector"), np.sum(holds, 0).tolist(), strict=True):
        say(f"the interval holds the second half's {name} in {times} of {count} resplits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=200, help="simulated tables for each case (200)")
    parser.add_argument("--talks", type=Path, metavar="FOLDER", help=f"halves of the talks of {NAME} in this folder")
    parser.add_argument("--resplits", type=int, default=100, help="with --talks: times that the talks are halved (100)")
    options = parser.parse_args()
    if options.talks:
        if not (options.talks / NAME).is_file():
            parser.error(f"--talks {options.talks}: no {NAME} there; import_dialogues.py --talks writes it")
        say_resplits(material_of_talks(options.talks), options.resplits)
        return
    tables = options.tables
    say(f"{'case':<48}truth   mean   interval holds it   width")
    for name, case in CASES.items():
        random = np.random.RandomState(1)
        truth = true_auc(*case, random)
        results = [
            cross_validate(Material(sides, MARKERS, {1: values}), 1)[0]
            for sides, values in (simulated(*case, random) for _ in range(tables))
        ]
        found = [result for result in results if result.low is not None]
        holds = np.mean([result.low <= truth <= result.high for result in found])
        width = np.mean([result.high - result.low for result in found])
        mean = np.mean([result.auc for result in results])
        say(f"{name:<48}{truth:.3f}  {mean:.3f}   {100 * holds:>6.1f} % of {len(found):<6}    {width:.3f}")


if __name__ == "__main__":
    main()
