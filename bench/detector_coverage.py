"""How often does the interval of detect.py's AUC hold the true AUC? On simulated markers, of which the truth is known.

    python -m bench.detector_coverage            # 200 simulated tables of markers for each case; 5 minutes on one core

Prints, for each case, the true AUC, the mean of the estimates, and the share of intervals that hold the true AUC. The
truth is the mean AUC, on endless new talks, of detectors that learn from four fifths of a table.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from personagpt.detection.detectors import Detector
from personagpt.detection.learning import Material
from personagpt.detection.sides import TalkSide
from personagpt.detection.validation import cross_validate
from personagpt.output import say

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=200, help="simulated tables for each case (200)")
    tables = parser.parse_args().tables
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
