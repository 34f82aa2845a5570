"""What a precision costs on real radiographs with real weights.

    FEATCACHE_REFERENCE=… pytest tests/benchmarks/test_precision_of_answers.py -s

VGG16, four classes, 316 images to train on and 124 to test. The same head on the rows of both precisions tells what the
precision does; a head trained anew on other rows differs by its own luck as well.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import featcache
from featcache.backbones import precisions
from heads import DenseHeadClassifier
from heads.bundles.answer_error import answer_error, close_calls

PRECISIONS = ("float32", "bfloat16", "int8")
MODELS = {
    "logistic regression, average": ("avg", lambda seed: LogisticRegression(C=1, max_iter=3000), (0,)),
    "logistic regression, map": ("flatten", lambda seed: LogisticRegression(C=0.01, max_iter=3000), (0,)),
    "dense head, average": (
        "avg",
        lambda seed: DenseHeadClassifier(256, dropout=0.25, epochs=100, learning_rate=1e-4, random_state=seed),
        (0, 1, 2),
    ),
}


@pytest.mark.real
@pytest.mark.timeout(3600)
def test_answers_of_each_precision(reference, tmp_path):
    data, weights = reference / "data" / "xray4", reference / "weights" / "vgg16_imagenet_notop.weights.h5"
    sets = {}
    for precision in PRECISIONS:
        if precision not in precisions.on_processor():
            pytest.skip(f"this processor has no {precision}")
        if precision == "int8":
            pytest.importorskip("nncf")
        done = featcache.extract(data, "vgg16", weights=str(weights), precision=precision, cache=tmp_path)
        sets[precision] = done.feature_set
        print(f"\n{precision}: {done.images_per_second:.2f} images/s, {done.precision_error}")  # noqa: T201
    for name, (pooling, make, seeds) in MODELS.items():
        loaded = {p: featcache.load(s, pooling=pooling, data=data, cache=tmp_path) for p, s in sets.items()}
        full = loaded["float32"].split("test")
        for precision, features in loaded.items():
            train, test = features.split("train"), features.split("test")
            for seed in seeds:
                model = make(seed).fit(train.X, train.y)
                given, wanted = model.predict_proba(test.X), model.predict_proba(full.X)
                labels, reference_labels = given.argmax(axis=1), wanted.argmax(axis=1)
                right, as_well = (int((found == test.y).sum()) for found in (labels, reference_labels))
                line = f"{name}, seed {seed}, {precision}: {right} of {len(test)} right; on float32's rows {as_well}"
                if precision != "float32":
                    measured = answer_error(model, features, None, None, tmp_path)
                    close = close_calls(measured, "classes", given, None)
                    changed = labels != reference_labels
                    line += (
                        f", {changed.sum()} labels changed, {(changed & close).sum()} of them among {close.sum()} close"
                    )
                    if precision == "bfloat16":
                        assert abs(right - as_well) <= 1
                        assert np.all(close[changed])
                print(line, flush=True)  # noqa: T201
