"""Forecasts of learning curves against what came: from a third of the patients to all of them.

    export OPENBLAS_NUM_THREADS=1                              # as many processes as cores, each on one
    python tests/benchmarks/learning_curves.py                 # simulated patients, 100 draws of each
    python tests/benchmarks/learning_curves.py --only none --data xrays/ --cache DIR --classes covid,normal   # and real

A draw takes a third of the patients, forecasts the score that would be measured with all of them (ten folds, patients
whole, as the last point of every curve), and compares it with the one that is. Simulated patients are new in every
draw; of real ones, whose features are kept, another third is taken. Printed is how often the 90% interval held it,
where anything was said.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import featcache
from heads.evaluation.clusters import group_codes
from heads.evaluation.curve_scores import CURVES
from heads.evaluation.held_out_ridge import scaled
from heads.evaluation.learning_curve import measure_curve
from heads.evaluation.more_patients import what_more_buys
from heads.evaluation.patient_subsets import dealt_folds, nested_subsets, strata_of_patients
from heads.search.gram_projection import isometric

REPEATS = 10


class World(NamedTuple):
    """Simulated patients: how many, images of each, columns, classes or labels, how far these are apart, how alike
    images of a patient are, and by which power columns' deviations fall."""

    kind: str
    patients: int
    images: int
    columns: int
    targets: int
    apart: float
    alike: float
    decay: float


WORLDS = {
    "two classes": World("classes", 240, 2, 150, 2, 2.0, 0.4, 0.5),
    "two classes, easy": World("classes", 240, 2, 100, 2, 4.0, 0.4, 0.5),
    "four classes": World("classes", 240, 2, 300, 4, 4.0, 0.4, 0.5),
    "two classes, slow": World("classes", 600, 1, 300, 2, 1.5, 0.0, 0.7),
    "three labels": World("labels", 300, 2, 100, 3, 2.5, 0.4, 0.5),
    "three labels, hard": World("labels", 300, 2, 150, 3, 1.5, 0.4, 0.5),
    "number": World("number", 240, 2, 100, 1, 2.0, 0.4, 0.5),
}


class Patients(NamedTuple):
    """Rows of patients: features, targets, patients counted from 0, and strata."""

    kind: str
    X: np.ndarray
    y: np.ndarray
    of_group: np.ndarray
    strata: np.ndarray

    def some(self, chosen: np.ndarray) -> Patients:
        """Of some patients, bool array of shape (n_patients,)."""
        rows = chosen[self.of_group]
        renamed = np.unique(self.of_group[rows], return_inverse=True)[1]
        return Patients(self.kind, isometric(scaled(self.X[rows])), self.y[rows], renamed, self.strata[rows])


def simulated(world: World, rng: np.random.Generator) -> Patients:
    """New patients of a world; the world itself, where its classes lie, stays."""
    lie = np.random.default_rng(7).standard_normal((world.targets, world.columns))
    lie *= world.apart / np.linalg.norm(lie, axis=1, keepdims=True)
    own = rng.standard_normal((world.patients, world.columns))
    of_group = np.repeat(np.arange(world.patients), world.images)
    X = np.sqrt(world.alike) * own[of_group]
    X += np.sqrt(1 - world.alike) * rng.standard_normal((len(of_group), world.columns))
    if world.kind == "classes":
        y = strata = of_group % world.targets
        X += lie[y]
    elif world.kind == "labels":
        y = (rng.random((world.patients, world.targets)) < [0.4, 0.25, 0.12])[of_group].astype(float)
        X += y @ lie
        strata = (y * [1, 2, 3]).max(axis=1).astype(int)  # of each patient his rarest label
    else:
        y = rng.standard_normal(world.patients)[of_group]
        X += y[:, None] * lie[0]
        strata = np.searchsorted(np.quantile(y, [0.2, 0.4, 0.6, 0.8]), y)
    return Patients(world.kind, X * np.arange(1, world.columns + 1.0) ** -world.decay, y, of_group, strata)


def real(data: str, cache: str, classes: Sequence[str]) -> Patients:
    """Kept features of images, some of their classes."""
    found = featcache.load(pooling="avg", data=data, cache=cache, classes=list(classes))
    return Patients("classes", np.asarray(found.X), found.y, group_codes(found.groups, len(found)), found.strata)


def of_all(patients: Patients, seeds: int) -> float:
    """The score as it is measured with all of them."""
    of, own = CURVES[patients.kind], strata_of_patients(patients.strata, patients.of_group)
    rows, everyone, X = np.arange(len(patients.y)), np.ones(len(own), bool), isometric(scaled(patients.X))
    folds = [dealt_folds(own, everyone, seed)[patients.of_group] for seed in range(seeds)]
    return float(np.mean([of.scores(patients.y, of.outputs(X, patients.y, rows, fold)).values for fold in folds]))


def draw(case: tuple[World | Patients, int, float | None]) -> tuple[dict[str, Any], float, int]:
    """A forecast from a third, the score of all, and how many times as many those are."""
    world, seed, known = case
    everyone = simulated(world, np.random.default_rng([seed, 3])) if isinstance(world, World) else world
    own = strata_of_patients(everyone.strata, everyone.of_group)
    some = everyone.some(nested_subsets(own, [1 / 3, 1], seed + 1000)[0])
    curve = measure_curve(some.X, some.y, some.of_group, some.strata, some.kind, REPEATS, seed)
    names = [str(target) for target in range(curve.values.shape[2])]
    more = len(own) - int(curve.patients[-1])
    told = what_more_buys(curve, some.kind, names, [more])
    return told, of_all(everyone, 1) if known is None else known, len(own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first draw")
    parser.add_argument("--only", default="", help="worlds whose name holds this")
    parser.add_argument("--data", help="real images")
    parser.add_argument("--cache", default="cache", help="with features of them")
    parser.add_argument("--classes", action="append", default=[], metavar="A,B", help="of the images; may be repeated")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    cases: dict[str, World | Patients] = {name: world for name, world in WORLDS.items() if asked.only in name}
    for names in asked.classes:
        cases[names] = real(asked.data, asked.cache, names.split(","))
    _tell("| what | patients | now | with all | said | score inside | above, below | mean width | gain said | gain |")
    _tell("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with multiprocessing.Pool(asked.jobs) as pool:
        for name, world in cases.items():
            known = of_all(world, 20) if isinstance(world, Patients) else None
            found = pool.map(
                draw, [(world, seed, known) for seed in range(asked.seed, asked.seed + asked.draws)], chunksize=1
            )
            _tell(_line(name, found))


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _line(name: str, found: Sequence[tuple[dict[str, Any], float, int]]) -> str:
    now = np.array([told["curve"][-1]["score"] for told, _, _ in found])
    truth = np.array([score for _, score, _ in found])
    said = np.array([told["forecast"][0]["score"] is not None for told, _, _ in found])
    patients = f"{found[0][0]['patients']} of {found[0][2]}"
    start = f"| {name} | {patients} | {now.mean():.3f} | {truth.mean():.3f} | {said.sum()} of {len(said)} |"
    if not said.any():
        return f"{start} – | – | – | – | {abs(truth.mean() - now.mean()):.3f} |"
    told = [one["forecast"][0] for (one, _, _), is_said in zip(found, said, strict=True) if is_said]
    low, high = np.array([one["score_ci"] for one in told]).T
    true = truth[said]
    gains = np.array([[one["gain_ci"][0], one["gain"], one["gain_ci"][1]] for one in told]).mean(axis=0)
    inside, above, below = (np.mean(where) for where in ((low <= true) & (true <= high), true > high, true < low))
    gain = "{1:.3f} ({0:.3f} to {2:.3f})".format(*gains)
    return (
        f"{start} {inside:.2f} | {above:.2f}, {below:.2f} | {np.mean(high - low):.3f} | {gain} | "
        f"{abs(truth.mean() - now.mean()):.3f} |"
    )


if __name__ == "__main__":
    main()
