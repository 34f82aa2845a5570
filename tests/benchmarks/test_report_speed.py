"""The report's map of 20,000 images in a headless Chromium: load, filter, hover, lasso, export.

    pytest tests/benchmarks/test_report_speed.py -s

Each time runs from the click to the frame that shows its effect, software drawing, no graphics card.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
from page_runs import FIT, browser, write_runs  # noqa: F401

COUNT, CLASSES = 20_000, ["covid", "normal", "pneumonia_bac", "pneumonia_vir"]
FRAME = "await new Promise(done => requestAnimationFrame(() => setTimeout(done)))"


def points() -> dict:
    """Four clusters that touch, one image in twenty misclassified, a tenth with a picture of 3,000 characters."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, COUNT)
    x = rng.normal(0, 0.25, COUNT) + 0.5 * np.cos(label * math.pi / 2)
    y = rng.normal(0, 0.25, COUNT) + 0.5 * np.sin(label * math.pi / 2)
    predicted = np.where(rng.random(COUNT) < 0.05, (label + 1) % 4, label)
    return {
        "classes": CLASSES,
        "splits": ["train", "test"],
        "x": x.round(4).tolist(),
        "y": y.round(4).tolist(),
        "label": label.tolist(),
        "predicted": predicted.tolist(),
        "probabilities": rng.dirichlet(np.ones(4), COUNT).round(4).ravel().tolist(),
        "split": rng.integers(0, 2, COUNT).tolist(),
        "path": [f"train/covid/patient_{i:05d}.png" for i in range(COUNT)],
        "picture": [i if i < 2000 else -1 for i in range(COUNT)],
        "pictures": ["data:image/jpeg;base64," + "A" * 3000] * 2000,
        "overlays": [],
        "all": COUNT,
        "wrong": int((label != predicted).sum()),
        "before": "",
        "saliency": "none here",
        "feature_set": "vgg16-imagenet-224-0",
        "task": "multiclass",
    }


def test_twenty_thousand_images(browser, tmp_path, monkeypatch):  # noqa: F811
    from heads.reporting.html_report import report

    runs = write_runs(tmp_path / "runs", fit_1=FIT)
    (runs / "fit-1" / "bundle").mkdir()
    monkeypatch.setattr("heads.reporting.html_report.explore", lambda *args, **kwargs: points())
    result = report(runs)
    assert result["points"] == COUNT
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    times: dict[str, list[float]] = {}

    def timed(name, act) -> None:
        started = time.perf_counter()
        act()
        page.evaluate(f"async () => {{ {FRAME} }}")
        times.setdefault(name, []).append(1000 * (time.perf_counter() - started))

    timed("load", lambda: page.goto(Path(result["html"]).as_uri()))
    page.locator(".stage").evaluate("stage => stage.scrollIntoView({block: 'center', behavior: 'instant'})")
    box = page.locator("#map-canvas").bounding_box()
    for selector in (
        "[name=class][value='0']",
        "[name=error][value=wrong]",
        "[name=error][value=all]",
        "[name=class][value='0']",
        "[name=split][value='0']",
        "[name=split][value='0']",
    ):
        timed("filter", lambda selector=selector: page.locator(selector).evaluate("box => box.click()"))
    for k in range(20):
        timed("hover", lambda k=k: page.mouse.move(box["x"] + 150 + 15 * k, box["y"] + 150 + 10 * k))
    page.mouse.down()
    for k in range(40):
        angle = 2 * math.pi * k / 40
        x, y = box["x"] + 300 + 150 * math.cos(angle), box["y"] + 250 + 150 * math.sin(angle)
        timed("lasso, a move", lambda x=x, y=y: page.mouse.move(x, y))
    timed("lasso, the selection", page.mouse.up)
    timed("zoom", lambda: page.locator("[data-do=in]").evaluate("button => button.click()"))
    print(f"\n{result['bytes'] / 1e6:.1f} MB, {page.inner_text('#selected-count')}")  # noqa: T201
    for name, found in times.items():
        print(f"{name:<22} median {np.median(found):6.0f} ms   worst {max(found):6.0f} ms")  # noqa: T201
    page.close()
