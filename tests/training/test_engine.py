"""The training engine against Keras, and a stack against heads alone."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from surroundings import ROOT

from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.errors import DataError, UsageError
from featcache.system.private_folder import private_folder
from heads.training import (
    architectures,
    compiled_program,
    engine,
    numba_compiler,
    numpy_forward,
    training_state,
    xla_stack,
)
from heads.training.architectures import HeadShape, dense_head, initial_weights
from heads.training.train_spec import Job, TrainedHead, TrainSpec


def data(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sparse, uneven features like those of a network after its last ReLU."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    X = np.maximum(rng.normal(size=(n, d)) + rng.normal(size=(classes, d))[y] * 0.5, 0)
    return X.astype(np.float32), y


def data_of(shape: HeadShape, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of that width with what such a head learns; of labels, a third is not known, but one of each row."""
    if shape.loss == "class":
        return data(n, shape.n_features, shape.n_targets)
    X, _ = data(n, shape.n_features, 2)
    rng = np.random.default_rng(7)
    values = X @ rng.normal(size=(shape.n_features, shape.n_targets)) + rng.normal(size=(n, shape.n_targets))
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    if shape.loss != "labels":
        return X, values[:, 0]
    Y = (values > 0.3).astype(np.float32)
    unknown = rng.random(Y.shape) < 1 / 3
    unknown[np.arange(n), rng.integers(0, shape.n_targets, n)] = False
    return X, np.where(unknown, np.float32(np.nan), Y)


def keras_loss(shape: HeadShape, balance=None):
    """The loss by Keras' name; of labels, its binary cross-entropies with a mask, and weights, multiplied in."""
    if shape.loss != "labels":
        crossed = "binary_crossentropy" if shape.n_outputs == 1 else "sparse_categorical_crossentropy"
        return {"class": crossed, "squared": "mean_squared_error", "huber": "huber"}[shape.loss]
    _, keras = load_tensorflow()
    ops = keras.ops
    no, yes = np.ones((2, shape.n_outputs), np.float32) if balance is None else balance

    def masked(Y, predicted):
        known = ops.cast(ops.equal(Y, Y), "float32")
        there = ops.where(ops.isnan(Y), 0.0, Y)
        weight = known * (there * yes + (1 - there) * no)
        return ops.mean(weight * ops.binary_crossentropy(there, predicted), axis=-1)

    return masked


def keras_fit(X, y, shape: HeadShape, spec: TrainSpec, weights, validation=None, sample_weight=None, balance=None):
    """The same head trained by ``keras.Model.fit`` in the given order of rows."""
    _, keras = load_tensorflow()
    model = dense_head(shape, spec.dropout, spec.l2, [w.copy() for w in weights])
    optimizer = {
        "adam": lambda: keras.optimizers.Adam(spec.learning_rate),
        "adamw": lambda: keras.optimizers.AdamW(spec.learning_rate, weight_decay=spec.weight_decay),
        "sgd": lambda: keras.optimizers.SGD(spec.learning_rate, momentum=spec.momentum),
    }[spec.optimizer]()
    metrics = [] if shape.loss == "labels" else [shape.measure]  # Keras has none that leaves out what is not known
    model.compile(optimizer, keras_loss(shape, balance), metrics=metrics)
    history = model.fit(
        X,
        y,
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        shuffle=False,
        verbose=0,
        validation_data=validation,
        sample_weight=sample_weight,
    )
    return model.get_weights(), history.history


def assert_close(ours, theirs, rtol):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(np.abs(b).max(), 1e-3))


@pytest.fixture(params=["XLA", "compiled", "compiled, large"])
def way(request, monkeypatch) -> str:
    """All ways to train a head alone, whatever its size."""
    monkeypatch.setattr(architectures, "LARGE", 0 if request.param == "compiled, large" else 1 << 40)
    monkeypatch.setattr(compiled_program, "suits", lambda *_: request.param != "XLA")
    return request.param


CASES = [
    HeadShape(300, classes, (32,), activation, norm)
    for activation, classes, norm in itertools.product(("relu", "sigmoid"), (2, 4), (False, True))
] + [
    HeadShape(300, targets, (32,), activation, norm, loss)
    for (loss, targets), (activation, norm) in itertools.product(
        (("labels", 5), ("squared", 1), ("huber", 1)), (("relu", False), ("sigmoid", True))
    )
]
FEW = [CASES[number] for number in (1, 2, 4, 7, 8, 11, 12)]  # each pair of values once, and each loss


MANY = [
    pytest.param(shape, marks=[] if shape in FEW else pytest.mark.slow, id="-".join(map(str, vars(shape).values())))
    for shape in CASES
]
STEPS = TrainSpec(dropout=0.0, epochs=10, batch_size=16, shuffle=False)  # of 75 rows, 5 an epoch, the last short


@functools.cache
def by_keras(shape: HeadShape) -> tuple[list[np.ndarray], dict[str, list[float]]]:
    X, y = data_of(shape, 75)
    return keras_fit(X, y, shape, STEPS, initial_weights(shape, 1), (X[60:], y[60:]))


@pytest.mark.parametrize("shape", MANY)
def test_equals_keras_fit_after_50_steps(shape, way):
    X, y = data_of(shape, 75)
    wanted, curves = by_keras(shape)
    job = Job(STEPS, np.arange(75), np.arange(60, 75), weights=initial_weights(shape, 1))
    got = engine.train(X, y, shape, [job])[0]
    assert_close(got.weights, wanted, 1e-4)
    for name, values in curves.items():
        np.testing.assert_allclose(got.history[name], values, rtol=2e-4, atol=1e-6, err_msg=name)
    if shape.loss == "labels":
        known = ~np.isnan(y[60:])
        right = (numpy_forward.outputs(shape, got.weights, X[60:]) > 0.5) == y[60:]
        np.testing.assert_allclose(got.history["val_accuracy"][-1], right[known].mean(), rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.01},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"l2": 0.01},
    ],
    ids=str,
)
def test_other_optimisers_and_l2_equal_keras(changes, way):
    X, y = data(48, 100, 3)
    shape = HeadShape(100, 3, (64, 8))
    spec = TrainSpec(dropout=0.0, epochs=15, batch_size=16, shuffle=False, **changes)
    weights = initial_weights(shape, 2)
    wanted, curves = keras_fit(X, y, shape, spec, weights)
    got = engine.train(X, y, shape, [Job(spec, np.arange(48), weights=weights)])[0]
    assert_close(got.weights, wanted, 1e-4)
    np.testing.assert_allclose(got.history["loss"], curves["loss"], rtol=2e-4)


@pytest.mark.parametrize("shape", [HeadShape(60, 2, (64,)), HeadShape(60, 3, (64,), loss="labels")], ids=str)
def test_sample_weights_equal_keras(shape, way):
    """And what the 0s and 1s of each label count, in training alone."""
    X, y = data_of(shape, 50)
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.2, 3, 50).astype(np.float32)
    balance = rng.uniform(0.2, 3, (2, 3)).astype(np.float32) if shape.loss == "labels" else None
    spec = TrainSpec(dropout=0.0, epochs=10, batch_size=16, shuffle=False)
    weights = initial_weights(shape, 0)
    wanted, curves = keras_fit(X, y, shape, spec, weights, sample_weight=weight, balance=balance)
    job = Job(spec, np.arange(50), np.arange(9), weight, weights, balance)
    got = engine.train(X, y, shape, [job])[0]
    assert_close(got.weights, wanted, 1e-4)
    np.testing.assert_allclose(got.history["loss"], curves["loss"], rtol=2e-4)
    even = engine.train(X, y, shape, [Job(spec, np.arange(50), np.arange(9), weight, weights)])[0]
    if balance is not None:
        probability, known = numpy_forward.outputs(shape, got.weights, X[:9]), ~np.isnan(y[:9])
        crossed = -np.log(np.where(y[:9] == 1, probability, 1 - probability))
        np.testing.assert_allclose(got.history["val_loss"][-1], (crossed * known).mean(), rtol=1e-4)
        assert not np.allclose(even.weights[0], got.weights[0], rtol=1e-3)


@pytest.mark.parametrize("way", ["compiled", "XLA"], indirect=True)
def test_an_unknown_target_teaches_nothing(way):
    """A label that is known of no row keeps the weights of its output; what is known of others counts as before."""
    shape = HeadShape(60, 3, (16,), loss="labels")
    X, y = data_of(shape, 40)
    y[:, 1] = np.nan
    y[np.isnan(y).all(axis=1), 0] = 1
    weights = initial_weights(shape, 0)
    spec = TrainSpec(dropout=0.0, epochs=3, batch_size=16)
    got = engine.train(X, y, shape, [Job(spec, np.arange(40), weights=weights)])[0]
    np.testing.assert_array_equal(got.weights[-2][:, 1], weights[-2][:, 1])
    assert got.weights[-1][1] == 0 != got.weights[-1][0]


@pytest.mark.parametrize("way", ["compiled", pytest.param("XLA", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.parametrize("activation", ["tanh", "elu", "gelu", "linear"])
def test_other_activations_equal_keras(activation, way):
    X, y = data(48, 90, 3)
    shape, spec = (
        HeadShape(90, 3, (40, 24), activation),
        TrainSpec(dropout=0.0, epochs=12, batch_size=16, shuffle=False),
    )
    weights = initial_weights(shape, 2)
    wanted, _ = keras_fit(X, y, shape, spec, weights)
    assert_close(engine.train(X, y, shape, [Job(spec, np.arange(48), weights=weights)])[0].weights, wanted, 1e-4)


@pytest.mark.parametrize(
    ("shape", "batch", "changes"),
    [
        (HeadShape(331, 3, (64,)), 40, {"optimizer": "adamw", "l2": 0.01}),
        (HeadShape(331, 4, (384, 16), loss="labels"), 33, {"patience": 2}),
        (HeadShape(331, 1, (100,), loss="huber"), 16, {"optimizer": "sgd", "l2": 0.01, "momentum": 0.5}),
    ],
    ids=str,
)
def test_the_programs_are_equal_with_dropout(shape, batch, changes, monkeypatch):
    """The same masks are drawn, and what is read on the way is the same."""
    X, y = data_of(shape, 100)
    spec = TrainSpec(dropout=0.3, epochs=5, batch_size=batch, seed=4, **changes)
    job = Job(spec, np.arange(80), np.arange(80, 100))
    trained: list[list[TrainedHead]] = []
    for compiled, large in ((False, 0), (True, 0), (True, 1 << 40)):
        monkeypatch.setattr(architectures, "LARGE", large)
        monkeypatch.setattr(compiled_program, "suits", lambda *_, compiled=compiled: compiled)
        read: list[TrainedHead] = []
        engine.train(X, y, shape, [job], stages=[2, 5], on_stage=lambda _, e, head, r=read: r.append(head))
        trained.append(read)
    for wanted, *others in zip(*trained, strict=True):
        for got in others:
            assert_close(got.weights, wanted.weights, 1e-4)
            assert got.best_epoch == wanted.best_epoch
            for name, values in wanted.history.items():
                np.testing.assert_allclose(got.history[name], values, rtol=1e-4, atol=1e-6, err_msg=name)


def test_which_program_is_taken(monkeypatch):
    """numba's, but for large heads on features with few zeros, and for small heads on many batches or rows."""
    sparse, dense = np.maximum(data(20, 400, 2)[0] - 1, 0), np.ones((20, 400), np.float32)
    small, large = HeadShape(400, 2, (64,)), HeadShape(400, 2, (4096,))
    jobs = [Job(TrainSpec(batch_size=2), np.arange(20))]
    assert compiled_program.suits(small, dense, jobs)
    assert compiled_program.suits(large, sparse, jobs)
    assert not compiled_program.suits(large, dense, jobs)
    assert not compiled_program.suits(small, np.ones((1002, 1), np.float32), jobs)
    wide = [Job(TrainSpec(batch_size=256), np.arange(20))]
    assert compiled_program.suits(small, np.ones((1002, 1), np.float32), wide)
    assert not compiled_program.suits(small, np.ones((32_001, 1), np.float32), wide)
    monkeypatch.setattr(compiled_program, "_available", lambda: False)
    assert not compiled_program.suits(small, sparse, jobs)


def test_what_numba_compiles_lies_in_the_users_own_folder():
    engine.train(*data(20, 40, 2), HeadShape(40, 2, (16,)), [Job(TrainSpec(epochs=1), np.arange(20))])
    folder = private_folder()
    assert folder is not None
    assert {path.name.split("-")[0] for path in folder.rglob("*.nbi")} >= {
        "first_kernel._pass_over",
        "compiled_step.epochs",
    }
    assert not list((ROOT / "heads").rglob("*.nbi"))


def test_other_sources_have_a_folder_of_their_own(tmp_path, monkeypatch):
    """numba looks at the file of a function alone, and not at those of what it calls."""
    package = shutil.copytree(Path(numba_compiler.__file__).parent, tmp_path / "training")
    monkeypatch.setenv("FEATCACHE_PROGRAMS", str(tmp_path / "programs"))
    monkeypatch.setattr(numba_compiler, "__file__", str(package / "numba_compiler.py"))
    before = numba_compiler._folder.__wrapped__()
    assert numba_compiler._folder.__wrapped__() == before
    (package / "compiled_layers.py").write_text("changed")
    after = numba_compiler._folder.__wrapped__()
    assert before != after
    os.utime(before, (0, 0))
    numba_compiler._folder.__wrapped__()
    assert not before.exists()
    assert after.exists()


def test_damaged_code_is_compiled_again(tmp_path):
    folder = tmp_path / "programs"
    (place,) = private_folder().glob("numba-*")
    kept_in = shutil.copytree(place, folder / place.name)
    folder.chmod(0o700)
    kept = {path.name: path.read_bytes() for path in kept_in.glob("*/first_kernel*.nb[ic]")}
    for number, (name, content) in enumerate(sorted(kept.items())):
        (path,) = kept_in.glob(f"*/{name}")
        path.write_bytes(content[:100] if number % 2 else content[:-100] + bytes(100))
    code = "from heads.training.first_kernel import pass_over; print(len(pass_over.signatures))"
    environment = {**os.environ, "FEATCACHE_PROGRAMS": str(folder)}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
        assert done.stdout == "1\n", done.stderr
    assert {path.name for path in kept_in.glob("*/first_kernel*.nb[ic]")} == set(kept)


STACKED = [
    HeadShape(128, 2, (24,)),
    HeadShape(128, 2, (24,), batch_norm=True),
    pytest.param(HeadShape(128, 4, (24,)), marks=pytest.mark.slow),
    pytest.param(HeadShape(128, 4, (24,), batch_norm=True), marks=pytest.mark.slow),
    HeadShape(128, 3, (24,), loss="labels"),
    HeadShape(128, 1, (24,), batch_norm=True, loss="squared"),
]


@pytest.mark.parametrize("shape", STACKED, ids=str)
@pytest.mark.parametrize("program", ["compiled", "XLA", "one product"])
def test_a_stack_equals_heads_alone(shape, program, monkeypatch):
    """Configurations and folds of unequal length together, with dropout; numbers in units of their own."""
    monkeypatch.setattr(compiled_program, "suits", lambda *_: program == "compiled")
    (X, y), norm = data_of(shape, 90), shape.batch_norm
    if program == "one product":
        monkeypatch.setattr(load_tensorflow()[0].config, "list_logical_devices", lambda kind: [kind])
        assert xla_stack.suits(load_tensorflow()[0], shape) is not norm
    rng = np.random.default_rng(0)
    jobs = []
    for number, (rate, dropout, count) in enumerate(
        [(1e-3, 0.2, 60), (1e-2, 0.5, 47), (3e-3, 0.1, 64), (1e-3, 0.2, 15)]
    ):
        rows = rng.permutation(90)
        spec = TrainSpec(learning_rate=rate, dropout=0.0 if norm else dropout, epochs=12, batch_size=16, seed=number)
        balance = np.full((2, 3), 1 + number, np.float32) if shape.loss == "labels" else None
        unit = (number - 1.0, 1.0 + number) if shape.loss == "squared" else None
        judged = 0 if shape.loss == "labels" else 7 + number  # none to validate on
        jobs.append(Job(spec, rows[:count], rows[count : count + judged], balance=balance, unit=unit))
    together = engine.train(X, y, shape, jobs)
    for job, stacked in zip(jobs, together, strict=True):
        alone = engine.train(X, y, shape, [job])[0]
        assert_close(stacked.weights, alone.weights, 1e-5)
        for name in alone.history:
            np.testing.assert_allclose(stacked.history[name], alone.history[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("at_once", [5, pytest.param(2, marks=pytest.mark.slow)])
def test_heads_of_one_product_stop_early_each_at_its_epoch(at_once, monkeypatch):
    """Those that have stopped stay as they are while others go on; so do parts of a stack that memory bounds."""
    X, y = data(90, 60, 3)
    shape = HeadShape(60, 3, (16,))
    jobs = [
        Job(TrainSpec(rate, epochs=60, patience=2, seed=number), np.arange(60), np.arange(60, 90))
        for number, rate in enumerate((1e-3, 3e-2, 1e-2, 3e-3, 1e-1))
    ]
    monkeypatch.setattr(compiled_program, "suits", lambda *_: False)
    alone = [engine.train(X, y, shape, [job])[0] for job in jobs]
    assert len({head.epochs_run for head in alone}) > 2
    monkeypatch.setattr(xla_stack, "suits", lambda *_: True)
    monkeypatch.setattr(training_state, "_TOGETHER", 4 * 60 * 32 * at_once)
    for got, wanted in zip(engine.train(X, y, shape, jobs), alone, strict=True):
        assert (got.epochs_run, got.best_epoch) == (wanted.epochs_run, wanted.best_epoch)
        assert_close(got.weights, wanted.weights, 1e-5)


def test_dropout_drops_its_share_and_seeds_tell_heads_apart():
    X, y = data(64, 50, 2)
    shape = HeadShape(50, 2, (16,))
    run = lambda seed, rate: engine.train(  # noqa: E731
        X, y, shape, [Job(TrainSpec(dropout=rate, epochs=3, seed=seed), np.arange(64))]
    )[0]
    assert_close(run(1, 0.5).weights, run(1, 0.5).weights, 1e-7)
    assert not np.allclose(run(1, 0.5).weights[0], run(2, 0.5).weights[0])
    # At a rate near one hardly anything is learnt.
    moved = [np.abs(run(1, rate).weights[0] - initial_weights(shape, 1)[0]).mean() for rate in (0.0, 0.99)]
    assert moved[1] < moved[0]


def test_early_stopping_goes_back_to_the_best_epoch():
    X, y = data(80, 40, 2)
    y[60:] = np.random.default_rng(5).integers(0, 2, 20)  # validation that soon gets worse
    shape = HeadShape(40, 2, (32,))
    spec = TrainSpec(learning_rate=0.01, epochs=60, patience=4, seed=1)
    got = engine.train(X, y, shape, [Job(spec, np.arange(60), np.arange(60, 80))])[0]
    losses = got.history["val_loss"]
    assert got.epochs_run == len(losses) < 60
    assert got.best_epoch == int(np.argmin(losses)) + 1 == got.epochs_run - 4
    short = engine.train(
        X,
        y,
        shape,
        [Job(TrainSpec(learning_rate=0.01, epochs=got.best_epoch, seed=1), np.arange(60), np.arange(60, 80))],
    )[0]
    assert_close(got.weights, short.weights, 1e-5)


def test_a_checkpoint_runs_to_the_end_and_keeps_the_best():
    X, y = data(80, 40, 2)
    y[60:] = np.random.default_rng(5).integers(0, 2, 20)
    spec = TrainSpec(learning_rate=0.01, epochs=20, checkpoint=True)
    got = engine.train(X, y, HeadShape(40, 2, (32,)), [Job(spec, np.arange(60), np.arange(60, 80))])[0]
    assert got.epochs_run == 20
    assert got.best_epoch == int(np.argmin(got.history["val_loss"])) + 1 < 20


def test_epochs_are_a_prefix():
    X, y = data(50, 30, 2)
    shape = HeadShape(30, 2, (8,))
    long, short = (engine.train(X, y, shape, [Job(TrainSpec(epochs=e, seed=3), np.arange(50))])[0] for e in (40, 20))
    np.testing.assert_allclose(long.history["loss"][:20], short.history["loss"], rtol=1e-5)


def test_bad_input_is_told():
    X, y = data(20, 10, 2)
    shape = HeadShape(10, 2)
    good = Job(TrainSpec(), np.arange(20))
    X[3, 3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        engine.train(X, y, shape, [good])
    X[3, 3] = 0
    with pytest.raises(DataError, match="no rows"):
        engine.train(X, y, shape, [Job(TrainSpec(), np.arange(0))])
    with pytest.raises(UsageError, match="validation rows"):
        engine.train(X, y, shape, [Job(TrainSpec(patience=2), np.arange(20))])
    with pytest.raises(UsageError, match="must agree"):
        engine.train(X, y, shape, [good, Job(TrainSpec(epochs=3), np.arange(20))])
    for changes in ({"dropout": 1.0}, {"learning_rate": 0}, {"optimizer": "lion"}, {"epochs": 0}):
        with pytest.raises(UsageError, match="expected"):
            TrainSpec(**changes)
    for heads, targets in ((shape, y + 1), (shape, y[:, None][:, [0, 0]]), (HeadShape(10, 3, loss="labels"), y)):
        with pytest.raises(UsageError, match="expect"):
            engine.train(X, targets, heads, [good])
    for changes in ({"activation": "swish"}, {"loss": "hinge"}, {"units": ()}):
        with pytest.raises(UsageError, match="expected one"):
            HeadShape(10, 2, **changes)
