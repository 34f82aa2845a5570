"""Every verb against a table of bad values: a sentence and exit 2 to 5, never a traceback, never 0.

The table is by option, since an option means the same on every verb. A verb or an option that is in no row fails here.
"""

from __future__ import annotations

import json
import os

import click
import pytest
from command_line import run_within
from pictures import write_images

import featcache
from featcache.commands.options import Finite
from heads.commands import main as command_line

TOO_LONG = "x" * 300
NO_HOME = "~nobody-of-this-name/x"
NUL = "a\0b"
NUMBERS = ["abc", "nan", "inf", "-inf", "1e999", ""]
PLACES = ["", "  ", NUL, TOO_LONG, "/proc/x/y", "file.txt/below"]

# What an option of free text must not be. Choices, ranges and switches are known from their types.
BAD = {
    "--cache": ["", NUL, TOO_LONG, "file.txt", "~nobody-is-called-this/x"],
    "--out": PLACES,
    "--data": ["", NUL, TOO_LONG, "nowhere", "empty", "file.txt", "http://[::1/x.csv", "broken.csv", NO_HOME],
    "--images": ["", NUL, TOO_LONG, "nowhere"],
    "--metadata": ["", ",", "a,,b", NUL, "nosuch"],
    "--against": ["", NUL, "nowhere", "empty"],
    "--group-regex": ["(", "[", NUL, ""],
    "--backbone": ["", ",", "nosuch", NUL, "vgg61,vgg16", "../x", "timm:", "hf:../x", "xrv:nosuch"],
    "--mean": ["", "x", "1,2", "1,2,3,4", "nan", "inf", "1/0", NUL],
    "--std": ["", "x", "1,2", "0", "-1", "nan", "1/0"],
    "--label": ["", "nosuch", NUL, TOO_LONG],
    "--classes": ["", ",", "one", "dog,cat", "covid,covid"],
    "--labels": ["", ",", "nosuch", "a,a", NUL],  # of another task than the default one, and so never good
    "--label-column": ["", "nosuch", NUL],
    "--target": ["", "nosuch", NUL],
    "--by": ["", ",", "nosuch", "nosuch:0-1", NUL],
    "--leave-out": ["", "nosuch", NUL],
    "--memory": ["", "0", "-1GB", "much", "1QB", "nan"],
    "--weights": ["", "nosuch.h5", "random:x", "random:-1", NUL, "empty", "file.txt"],
    "--layer": ["nosuch", NUL],
    "--calibration": ["", "nosuch", "../x", NUL],
    "--devices": ["", "cpu:0", "tpu:1", "gpu:", "cpu:99999", "gpu:0,gpu:0"],
    "--scheduler": ["", "nowhere", "local:0", "tcp://127.0.0.1:1", "tcp://", "http://[::1"],
    "--units": ["", "0", "-3", "64,", "x", "1.5", "64,0"],
    "--models": ["", "nosuch", "knn,nosuch"],
    "--more": ["", "0", "-5", "1,0", "x", "1.5", "nan"],
    "--model": ["", "nosuch"],  # grid's; fit-head's are a choice
    "--param": ["", "C", "C=", "C=,", "=1", "nosuch=1", "C=3..1", "C=a..b", "C=-1", "C=nan", "C=0..10"],
    "--audit": ["", "nowhere", "empty", NUL, NO_HOME],
    "--runs": ["", "nowhere", "empty", "file.txt", NUL],
    "--before": ["", "nowhere", "empty", "file.txt", NUL],
    "--decisions": ["", "nowhere.csv", "empty", "file.txt", "broken.csv", NUL, TOO_LONG],
    "--bundle": ["", "nowhere", "empty", NUL],
    "--only": ["", "nosuch", "b-,nosuch"],
    "--features": ["", "file.txt", NUL, NO_HOME],
    "--on-map": ["", "nowhere", "empty", "file.txt", NUL, TOO_LONG],
    "--among": ["", "nowhere", "empty", "file.txt", NUL],
    "BUNDLE": ["", "nowhere", "empty", "file.txt", NUL, TOO_LONG, NO_HOME],
    "IMAGE": ["", "nowhere.png", "empty", "file.txt", NUL, TOO_LONG, NO_HOME],
    "RUNS": ["", "nowhere", "empty", "file.txt", NUL],
    "TOPIC": ["nosuch", "../README", "", NUL],
    "--baselines": ["", "nosuch", "knn,nosuch"],
    "STUDY.TOML": [NUL, "nowhere.toml", "empty", "file.txt", TOO_LONG],
    "SET": ["", "nosuch", "../features", NUL, "/"],
    "FILE": [*PLACES, "empty"],
    "NAMES": [
        "",
        ",",
        "nosuch",
        "pixels",
        "hf:",
        "hf:../x",
        "hf:a/b@x",
        "timm:/",
        "xrv:all",
        "nohouse:x",
        NUL,
        TOO_LONG,
    ],
    "PACK": ["", "nowhere", "empty", "file.txt", NUL, TOO_LONG, "/dev/zero"],
}

# The least that each verb is to be given besides the bad value, which takes the place of a value here.
GIVEN = {
    "extract": {"--backbone": "mobilenet", "--weights": "random", "--size": "32"},
    "fit-head": {"--pooling": "avg", "--epochs": "1"},
    "baselines": {"--pooling": "avg", "--models": "dummy"},
    "grid": {"--pooling": "avg", "--model": "logistic", "--param": "C=1"},
    "tsne": {"--pooling": "avg"},
    "reproduce": {"--only": "b-vgg16"},
    "learning-curve": {},
    "audit": {},
    "label-errors": {"--pooling": "avg", "--models": "knn"},
    "evaluate": {"BUNDLE": "bundle"},
    "predict": {"BUNDLE": "bundle", "IMAGE": "images"},
    "similar": {"IMAGE": "images"},
    "compare": {"BUNDLE_A": "bundle", "BUNDLE_B": "bundle"},
    "saliency": {"BUNDLE": "bundle"},
    "report": {},
    "worklist": {"--runs": "runs"},
    "docs": {},
    "study": {"--data": "images", "--backbone": "mobilenet", "--weights": "random", "--size": "32", "--out": "study"},
    "bundle export": {"BUNDLE": "bundle", "FILE": "out.xml"},
    "bundle doctor": {"BUNDLE": "bundle"},
    "weights pack": {"NAMES": "mobilenet", "FILE": "weights.tar"},
    "weights unpack": {"PACK": "nowhere"},
    "scout": {
        "--data": "images",
        "--backbone": "mobilenet,mobilenet@random:1",
        "--weights": "random",
        "--size": "32",
    },
    "vault ls": {},
    "vault verify": {},
    "vault lock": {},
    "cache ls": {},
    "cache verify": {},
    "cache repair": {},
    "cache compact": {},
    "cache rm": {"SET": "nosuch"},
    "cache export": {"FILE": "out.h5", "--pooling": "avg"},
    "benchmark conv": {},
    "benchmark extract": {},
    "benchmark cache": {},
    "benchmark grid": {},
    "benchmark load": {},
}
# Where a value is not bad: (verb, option, value).
GOOD = {
    ("fit-head", "--units", "64,"),
    ("report", "RUNS", ""),
    # A file, and no weights are needed where every feature is kept: it is not read.
    *(
        (verb, "--weights", "file.txt")
        for verb in ("reproduce", "evaluate", "predict", "compare", "saliency", "similar")
    ),
}


def verbs(group: click.Group = command_line.cli, prefix: str = ""):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


VERBS = dict(verbs())


def name_of(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return parameter.opts[0]
    return {"out": "FILE", "images": "IMAGE", "feature_sets": "SET", "config": "STUDY.TOML"}.get(
        parameter.name, parameter.name.upper()
    )


def bad_values(parameter: click.Parameter) -> list[str]:
    """Bad values of an option, from its type or from the table."""
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return ["nosuch", ""]
    if isinstance(kind, click.IntRange | click.FloatRange):
        low = [] if kind.min is None else [str(kind.min if kind.min_open else kind.min - 1)]
        high = [] if kind.max is None else [str(kind.max if kind.max_open else kind.max + 1)]
        return [*NUMBERS, *low, *high]
    name = name_of(parameter)
    return BAD.get(name) or BAD[name.partition("_")[0]]


def takes_a_value(parameter: click.Parameter) -> bool:
    return not (isinstance(parameter, click.Option) and parameter.is_flag)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images, a cache, a bundle, a run, and what is not quite one of these."""
    folder = tmp_path_factory.mktemp("bad values")
    write_images(folder / "images", 40)
    (folder / "empty").mkdir()
    (folder / "file.txt").write_text("words")
    (folder / "broken.csv").write_bytes(b'path,label\n"\0\xff')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        featcache.extract("images", "mobilenet", weights="random", size=32)
        from heads import fit_head

        fit_head(pooling="avg", epochs=1, out="runs/first")
    (folder / "bundle").symlink_to("runs/first/bundle")
    return folder


@pytest.fixture
def call(place, monkeypatch):
    """``python cli.py …`` within this process; returns exit code, stdout and stderr."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("featcache.extraction.dask_workers._PATIENCE", 1)

    def run(*arguments: str) -> tuple[int, str, str]:
        done = run_within(place, *arguments)
        return done.code, done.out, done.err

    return run


def arguments_of(verb: str, changed: dict[str, str]) -> list[str]:
    given = {**GIVEN[verb], **changed}
    options = [text for name, value in given.items() if name.startswith("--") for text in (name, value)]
    order = [name_of(parameter) for parameter in VERBS[verb].params if isinstance(parameter, click.Argument)]
    return [*verb.split(), *options, "--json", "--", *(given[name] for name in order if name in given)]


def test_every_verb_has_rows():
    assert set(GIVEN) == set(VERBS), "say in GIVEN what the verb needs at least"


def test_numbers_have_ranges_and_exclude_what_is_no_number():
    for verb, command in VERBS.items():
        for parameter in command.params:
            if isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType):
                assert isinstance(parameter.type, click.IntRange | Finite), (verb, parameter.name)


def test_choices_are_those_of_the_library():
    from featcache.store.compression import COMPRESSIONS
    from heads.evaluation.calibration import METHODS as CALIBRATIONS
    from heads.experiments.head_models import HEADS
    from heads.experiments.search_plan import METHODS
    from heads.training.architectures import ACTIVATIONS
    from heads.training.train_spec import OPTIMIZERS

    def choices(verb: str, name: str) -> set[str]:
        return set(next(p for p in VERBS[verb].params if p.name == name).type.choices)

    assert choices("fit-head", "activation") == set(ACTIVATIONS)
    assert choices("fit-head", "optimizer") == set(OPTIMIZERS)
    assert choices("fit-head", "calibration") == set(CALIBRATIONS)
    assert choices("fit-head", "model") == set(HEADS)
    assert choices("grid", "method") == set(METHODS)
    assert choices("extract", "compression") == set(COMPRESSIONS)


ROWS = [
    pytest.param(verb, name_of(parameter), id=f"{verb} {name_of(parameter)}")
    for verb, command in VERBS.items()
    for parameter in command.params
    if takes_a_value(parameter)
]


@pytest.mark.parametrize(("verb", "option"), ROWS)
def test_a_bad_value_is_a_sentence(verb, option, call):
    parameter = next(p for p in VERBS[verb].params if name_of(p) == option)
    for value in bad_values(parameter):
        if (verb, option, value) in GOOD:
            continue
        arguments = arguments_of(verb, {option: value})
        code, out, err = call(*arguments)
        told = f"{arguments}: exit {code}\n{out}\n{err}"
        assert code in (2, 3, 4, 5), told
        assert "Traceback" not in err + out, told
        assert "(more with -v)" not in err, told
        said = json.loads(out.splitlines()[-1])
        assert said["exit_code"] == code, told
        assert len(said["error"].split()) >= 4, told
        assert not [name for name in os.listdir() if name.startswith("x" * 50)], told


PAIRS = [
    ("grid", {"--model": "knn", "--param": "n_neighbors=abc"}, 2, "n_neighbors"),
    ("grid", {"--model": "knn", "--param": "n_neighbors=0"}, 2, "n_neighbors"),
    ("grid", {"--model": "knn", "--param": "n_neighbors=5000"}, 2, "n_neighbors"),
    ("grid", {"--model": "logistic", "--method": "random", "--param": "C=0..10"}, 2, "C"),
    ("grid", {"--model": "random-forest", "--param": "max_features=2.5"}, 2, "max_features"),
    ("grid", {"--model": "xgboost", "--param": "learning_rate=-1"}, 2, "learning_rate"),
    ("grid", {"--model": "xgboost", "--param": "max_depth=abc"}, 2, "max_depth"),
    ("grid", {"--model": "lda", "--param": "n_components=-2"}, 2, "n_components"),
    ("grid", {"--model": "lda", "--param": "n_components=500"}, 2, "n_components"),
    ("grid", {"--model": "svm-rbf", "--param": "gamma=-1"}, 2, "gamma"),
    ("grid", {"--model": "gradient-boosting", "--param": "learning_rate=0"}, 2, "learning_rate"),
    *(
        ("grid", {"--model": model, "--param": param}, 2, param.partition("=")[0])
        for model in ("dense", "own-cnn")
        for param in (
            *("learning_rate=-1", "learning_rate=nan", "epochs=0", "epochs=1.5", "batch_size=0", "dropout=1"),
            *("dropout=abc", "units=0", "units=abc", "activation=nosuch", "patience=0"),
        )
    ),
    *(
        ("fit-head", {"--model": "own-cnn", option: value}, 2, option)
        for option, value in (
            *(("--learning-rate", "-1"), ("--epochs", "0"), ("--batch-size", "0"), ("--dropout", "1")),
            *(("--units", "64,64"), ("--units", "0"), ("--activation", "nosuch"), ("--patience", "0")),
        )
    ),
    ("fit-head", {"--model": "own-cnn", "--l2": "0.1"}, 2, "l2"),
    ("fit-head", {"--model": "own-cnn", "--memory": "100MB"}, 2, "memory"),
    ("fit-head", {"--memory": "10MB", "--units": "33"}, 2, "memory"),
    ("audit", {"--memory": "10MB"}, 2, "memory"),
    ("grid", {"--memory": "10MB"}, 2, "memory"),
    ("grid", {"--cv": "1000"}, 3, "folds"),
    ("baselines", {"--cv": "1000"}, 3, "folds"),
    ("audit", {"--group-regex": "("}, 2, "group-regex"),
    ("evaluate", {"--split": "val"}, 3, "val"),
    ("extract", {"--layer": "nosuch"}, 2, "nosuch"),
    *(
        (verb, {"--task": "multilabel", "--labels": "a,a"}, 2, "labels")
        for verb in ("fit-head", "grid", "audit", "tsne")
    ),
    *((verb, {"--task": "multilabel", "--labels": "nosuch"}, 3, "nosuch") for verb in ("fit-head", "baselines")),
    *((verb, {"--task": "multilabel", "--label-column": "nosuch"}, 3, "nosuch") for verb in ("grid", "cache export")),
    *((verb, {"--task": "regression", "--target": "nosuch"}, 3, "nosuch") for verb in ("fit-head", "audit")),
    ("grid", {"--task": "regression", "--target": "age"}, 2, "ridge"),  # logistic is of other tasks
    ("fit-head", {"--task": "regression"}, 2, "target"),
    ("baselines", {"--task": "multilabel", "--target": "age"}, 2, "target"),
    ("predict", {"--per-patient": "mean", "--group-regex": "("}, 2, "group-regex"),
]


@pytest.mark.parametrize(("verb", "given", "code", "word"), PAIRS, ids=lambda v: str(v)[:60])
def test_what_is_bad_together_is_named(verb, given, code, word, call):
    arguments = arguments_of(verb, given)
    ended, out, err = call(*arguments)
    assert ended == code, (arguments, out, err)
    assert "Traceback" not in err
    assert word.lstrip("-").replace("-", "_") in json.loads(out.splitlines()[-1])["error"].replace("-", "_")


def test_a_parameter_given_twice_is_refused(call):
    code, out, _ = call("grid", "--pooling", "avg", "--model", "logistic", "--param", "C=1", "--param", "C=2", "--json")
    assert code == 2
    assert "twice" in json.loads(out)["error"]
