"""Pictures of numbers, labels and subgroups: that what is told is drawn, and what is not is said."""

from __future__ import annotations

import numpy as np
from PIL import Image

from heads.evaluation import task_plots
from heads.evaluation.canvas import save_figure
from heads.evaluation.label_metrics import evaluate_labels
from heads.evaluation.number_metrics import evaluate_numbers
from heads.evaluation.subgroup_metrics import subgroup_metrics
from heads.evaluation.subgroups import subgroups

RNG = np.random.default_rng(0)


def texts(figure, path):
    """What is written in a picture, once it is drawn."""
    from matplotlib.text import Text

    save_figure(figure, path)
    assert np.ptp(np.asarray(Image.open(path))) > 0
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_numbers(tmp_path):
    for n in (40, 3000):
        y = RNG.uniform(20, 90, n)
        predicted = y + RNG.normal(0, 5, n)
        test = evaluate_numbers(y, predicted, None)
        drawn = texts(task_plots.predicted_against_true(y, predicted, test, "a$e$"), tmp_path / "n.png")
        told = next(text for text in drawn if text.startswith("n = "))
        assert f"n = {n:,}" in told
        assert f"MAE {test['mae']:#.3g} ({test['mae_ci'][0]:#.3g} to" in told
        assert "true a$e$" in drawn
    same = evaluate_numbers(np.full(5, 3.0), np.arange(5.0), None)
    drawn = texts(task_plots.predicted_against_true(np.full(5, 3.0), np.arange(5.0), same, "x"), tmp_path / "s.png")
    assert any("R2 not defined" in text for text in drawn)


def test_labels_best_first_and_too_few_last(tmp_path):
    y = (RNG.random((200, 3)) < (0.3, 0.01, 0.3)).astype(float)
    p = np.clip(RNG.random((200, 3)) * 0.6 + y * (0.1, 0.3, 0.4), 0, 1)
    test = evaluate_labels(y, p, None, ("poor", "rare", "g$o$d"))
    figure = task_plots.label_chart(test, "of $x")
    drawn = texts(figure, tmp_path / "l.png")
    names = [text.get_text().split(" (")[0] for text in figure.axes[0].get_yticklabels()]
    assert names == ["mean", "g$o$d", "poor", "rare"]
    assert drawn.count("too few") == 2
    nothing = evaluate_labels(np.zeros((9, 1)), np.full((9, 1), 0.5), None, ("none",))
    assert "too few" in texts(task_plots.label_chart(nothing), tmp_path / "z.png")


def test_subgroups(tmp_path):
    y = np.arange(200) % 2
    score = RNG.normal(size=200) + 1.5 * y
    site = np.array(["a", "b"], object)[np.arange(200) // 2 % 2]
    score[site == "b"] = RNG.normal(size=100)
    known = {"site": site, "$x$": np.array(["only"], object).repeat(200)}
    site[:4] = "c\udce9"
    found = subgroup_metrics("classes", y, np.c_[-score, score], None, subgroups(known, "site,$x$"), ("n", "p"))
    drawn = texts(task_plots.subgroup_chart(found), tmp_path / "g.png")
    assert "too few to say" in drawn
    assert "nothing to compare" in drawn
    assert any(text.startswith("gap ") and text.endswith("corrected") for text in drawn)
    assert any(text.startswith("c? (4 images of 4 patients") for text in drawn)
