"""The reference's whole grid on the built-in sample's flattened features, and ``GridSearchCV`` on some of it.

    featcache extract --backbone xception --weights random --cache sample-cache
    python tests/benchmarks/whole_grid.py --cache sample-cache --candidates 6

Ours searches all 18 candidates in 3 folds; sklearn's searches some of them, drawn at random, one by one. The scores of
every fold are to be the same. Seconds are of both cores.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold

import featcache
from featcache.data.tasks import as_task
from heads.experiments.search_plan import plan_search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", required=True)
    parser.add_argument("--candidates", type=int, default=18, help="Of them, how many sklearn's searches.")
    asked = parser.parse_args()
    features = featcache.load("xception", task="multiclass", pooling="flatten", cache=asked.cache).split("train")
    X, y = features.X, features.y
    print(f"{len(X)} x {X.shape[1]}, {(X != 0).mean():.0%} not zero", flush=True)  # noqa: T201
    given = {"method": "exact", "iterations": 10, "seed": 0}
    plan = plan_search(as_task("multiclass", None), "dense", "reference", None, **given)
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    started = time.process_time()
    ours = plan.search(folds).fit(X, y).cv_results_
    print(f"ours, {len(ours['params'])} candidates: {time.process_time() - started:.0f} s", flush=True)  # noqa: T201
    scores = [name for name in ours if name.startswith("split") and "_test_" in name]
    for place in np.random.default_rng(0).permutation(len(ours["params"]))[: asked.candidates]:
        grid = {name: [value] for name, value in ours["params"][place].items()}
        started = time.process_time()
        search = GridSearchCV(plan.estimator, grid, cv=folds, scoring=plan.scoring, refit=False, error_score="raise")
        theirs = search.fit(X, y).cv_results_
        took = time.process_time() - started
        apart = max(abs(float(theirs[name][0]) - float(ours[name][place])) for name in scores)
        print(f"{ours['params'][place]}: sklearn's {took:.0f} s, scores differ by {apart:g}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
