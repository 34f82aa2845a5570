"""The worklist in a browser: decided on by keyboard, downloaded, learnt from, and what changed on the next page."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from page_runs import HOSTILE
from pictures import age
from PIL import Image
from shortened import few_trees, undrawn

import featcache
import heads
from featcache.data.dataset import open_dataset

WRONG, TESTED, ODD = 7, 40, 12  # two images in the wrong class, the second in test, and one of an odd name
FORMULA = "=M, '1'"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """60 images, bright on the left or on the right, two of which are labelled wrongly, and one that is there twice."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    rows = []
    (folder / "images").mkdir()
    for number in range(60):
        side = number % 2
        pixels = rng.normal(70, 25, (72, 72))
        pixels[:, 36 * side : 36 * (side + 1)] += 90
        name = f"images/{'=1+1, x' if number == ODD else number}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
        label = side ^ (number in (WRONG, TESTED))
        rows.append(
            [name, ("left", "right")[label], "test" if number >= 36 else "train", f"{HOSTILE}{number // 2}", FORMULA]
        )
    shutil.copy(folder / rows[3][0], folder / "images" / "again.png")
    rows.append(["images/again.png", "right", "test", "new", "-F"])
    with (folder / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "group", "sex"), *rows])
    age(folder)
    run_all(folder, folder / "data.csv", "1")
    return folder, heads.report(folder / "runs", cache=folder / "cache")


def run_all(folder: Path, data: Path, name: str) -> None:
    cache, runs = folder / "cache", folder / "runs"
    featcache.extract(data, "pixels", size=8, cache=cache)
    given = {"backbone": "pixels", "data": data, "cache": cache}
    with few_trees(), undrawn():
        heads.audit(data, cache=cache, out=runs / f"audit-{name}")
        heads.label_errors(**given, models=["knn"], cv=3, out=runs / f"labels-{name}")
        heads.fit_head(**given, epochs=12, units=8, learning_rate=0.003, out=runs / f"fit-head-{name}")


def select_of(page, image: str):
    """The choice of the row whose reason begins with an image."""
    row = page.locator(".todo > li").filter(has=page.locator(f'p:text-matches("^{re.escape(image)}")'))
    return row.locator("select")


@pytest.fixture
def page(browser, made):
    page, complaints = browser.new_page(viewport={"width": 1200, "height": 900}), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
    page.goto(Path(made[1]["html"]).as_uri())
    page.evaluate("document.querySelectorAll('#worklist details').forEach((one) => { one.open = true; })")
    yield page
    assert complaints == []
    page.close()


def status(page) -> str:
    return page.locator("#worklist [role=status]").inner_text()


def saved(page, button: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_decisions_become_a_manifest_and_the_next_page_says_what_changed(page, made, tmp_path):
    folder = made[0]
    assert page.get_by_role("button", name="Download manifest.csv").is_disabled()
    select_of(page, f"{WRONG}.png").select_option(label="Relabel as right (suggested)")
    select_of(page, f"{TESTED}.png").select_option(label="Leave it out")
    page.locator(".todo > li", has_text="Copies across parts").locator("select").select_option(
        label="Leave out 1 copy learnt from"
    )
    assert status(page) == "3 decisions: 2 images left out, 1 image relabelled"
    page.reload()
    assert status(page) == "3 decisions: 2 images left out, 1 image relabelled"  # the browser has kept them
    decisions, manifest = (
        saved(page, "Download decisions.csv", tmp_path),
        saved(page, "Download manifest.csv", tmp_path),
    )

    before, after = open_dataset(folder / "data.csv"), open_dataset(manifest)
    gone = {str(folder / "images" / name) for name in (f"{TESTED}.png", "3.png")}
    at = [row for row, path in enumerate(before.paths) if path not in gone]
    assert after.paths == [before.paths[row] for row in at]
    assert after.splits == [before.splits[row] for row in at]
    assert after.groups == [before.groups[row] for row in at]
    assert after.table["sex"] == [before.table["sex"][row] for row in at]
    changed = [
        path
        for path, row in zip(after.paths, at, strict=True)
        if after.labels[after.paths.index(path)] != before.labels[row]
    ]
    assert changed == [str(folder / "images" / f"{WRONG}.png")]
    by_verb = heads.worklist(folder / "runs", decisions=decisions, cache=folder / "cache", out=tmp_path / "verb.csv")
    assert Path(by_verb["manifest"]).read_text() == manifest.read_text()

    run_all(folder, manifest, "2")
    again = heads.report(folder / "runs", cache=folder / "cache", out=tmp_path / "again.html")
    page.goto(Path(again["html"]).as_uri())
    told = " ".join(page.locator("#worklist .changed").inner_text().split())
    assert "data.csv: images 2 left out, 1 relabelled." in told
    assert re.search(r"[3-9] rows done: their images were left out or relabelled", told)
    assert "Test accuracy: " in told
    assert "Leaving wrong answers out of the test" in told
    assert re.search(
        r"On the 24 test images that both have, by today's labels: [01]\.\d{3} then, [01]\.\d{3} now \([+-]", told
    )
    assert not select_of(page, f"{WRONG}.png").count()
    assert not page.locator(".todo select").evaluate_all("all => all.some((one) => one.value !== '')")


def test_it_is_decided_by_keyboard_and_forgotten(page):
    labels = select_of(page, f"{WRONG}.png")
    labels.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert labels.evaluate("one => one.selectedOptions[0].textContent") == "Relabel as right (suggested)"
    name = labels.evaluate("one => one.labels[0].textContent")
    assert re.fullmatch(r"Decision on \d+", name)
    assert page.get_by_label(name, exact=True).count() == 1
    assert page.get_by_role("button", name="Download manifest.csv").is_enabled()
    page.get_by_role("button", name="Forget them").click()
    assert status(page) == "No decision yet"
    page.reload()
    assert status(page) == "No decision yet"


def test_what_is_kept_as_it_is_stays_so_on_the_page_of_a_later_version(page, made, tmp_path):
    folder = made[0]
    select_of(page, f"{WRONG}.png").select_option(label="Keep as it is")
    select_of(page, f"{TESTED}.png").select_option(label="Leave it out")
    later = folder / "later.csv"
    shutil.copy(folder / "data.csv", later)
    for name in ("audit-1", "labels-1", "fit-head-1"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        about = (folder / "runs" / name / "run.json").read_text()
        (tmp_path / "runs" / name / "run.json").write_text(about.replace(str(folder / "data.csv"), str(later)))
    page.goto(Path(heads.report(tmp_path / "runs", cache=folder / "cache")["html"]).as_uri())
    assert select_of(page, f"{WRONG}.png").input_value() == "keep"
    page.get_by_role("button", name="Forget them").click()
    page.goto(Path(made[1]["html"]).as_uri())
    assert status(page) == "No decision yet"


@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits_and_has_headings_in_order(width, page):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#worklist h2").inner_text() == "What to do first"
    assert page.locator("#verdict ~ #worklist").count() == 1
    assert page.locator("main > section").nth(1).get_attribute("id") == "worklist"
    assert page.evaluate("window.hacked") is None
    for select in page.locator("#worklist select").all():
        assert select.evaluate("one => one.labels.length") == 1


def test_without_pictures_none_is_on_the_list(made, tmp_path):
    folder = made[0]
    heads.report(folder / "runs" / "fit-head-1", cache=folder / "cache", images=False, out=tmp_path / "plain.html")
    html = (tmp_path / "plain.html").read_text()
    assert "data:image" not in html
    assert "Copies across parts" in html
