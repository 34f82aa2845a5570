"""The audit finds what is planted, and says nothing where nothing is."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from surroundings import REFERENCE

import featcache
from featcache.data.synthetic import draw
from featcache.errors import DataError, StoreError, UsageError
from heads import audit, fit_head, open_bundle
from heads.auditing.image_summary import summary_of
from heads.auditing.near_duplicates import merged_groups, near_duplicates
from heads.auditing.negatives import AGAINST, shared_shades
from heads.auditing.sketches import Sketches, sketch
from heads.auditing.subject import words_for

SIZES = (24, *(pytest.param(size, marks=pytest.mark.slow) for size in (60, 160)))


class Drawn(Sequence):
    """Radiographs, each drawn when it is first asked for."""

    def __len__(self) -> int:
        return 160

    def __getitem__(self, which):
        numbers = range(len(self))[which]
        return [drawn(number) for number in numbers] if isinstance(which, slice) else drawn(numbers)


@functools.cache
def drawn(number: int) -> Image.Image:
    return Image.fromarray(draw("normal", np.random.default_rng([8, number])))


@pytest.fixture(scope="session")
def pool() -> Sequence[Image.Image]:
    """Synthetic radiographs without lesions: whatever labels they are given mean nothing."""
    return Drawn()


def lay_out(folder: Path, images, labels, splits=None) -> Path:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / (splits[number] if splits else "") / label / f"image{number:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        image.save(place)
    return folder


def coin(count: int, seed: int = 0) -> list[str]:
    """Labels that mean nothing, half of each."""
    return [("covid", "normal")[i] for i in np.random.default_rng(seed).permutation(np.arange(count) % 2)]


def flagged(result: dict) -> set[str]:
    return {row["probe"] for row in result["shortcuts"] if row["flag"]}


def found(result: dict) -> set[frozenset[str]]:
    return {frozenset((Path(pair["a"]).name, Path(pair["b"]).name)) for pair in result["near_duplicates"]}


# -- shortcuts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_labels_that_mean_nothing_raise_no_warning(size, pool, tmp_path):
    data = lay_out(tmp_path / "data", pool[:size], coin(size))
    result = audit(data, cache=tmp_path / "cache", out=tmp_path / "o")
    assert len(result["shortcuts"]) == 5
    assert flagged(result) == set()
    assert result["warnings"] == []
    assert result["near_duplicates"] == []
    assert all("No shortcut" in row["verdict"] or "trace" in row["verdict"] for row in result["shortcuts"])


@pytest.mark.parametrize("size", SIZES)
def test_a_marker_in_the_corner_of_one_class_is_flagged(size, pool, tmp_path):
    labels = coin(size)
    marked = [image.copy() for image in pool[:size]]
    for image, label in zip(marked, labels, strict=True):
        if label == "covid":
            ImageDraw.Draw(image).text((8, 8), "PORTABLE", fill=255)
    result = audit(lay_out(tmp_path / "data", marked, labels), cache=tmp_path / "cache", out=tmp_path / "o")
    assert "corners" in flagged(result)
    assert "file properties" not in flagged(result)
    corner = next(row for row in result["shortcuts"] if row["probe"] == "corners")
    assert corner["score"] > 0.9
    assert corner["p_value"] < 0.01
    assert corner["score_ci"][0] <= corner["score"] <= corner["score_ci"][1]
    assert any(
        text.startswith("shortcut:") and f"{corner['score']:.0%} by corners" in text for text in result["warnings"]
    )
    assert (tmp_path / "o" / "shortcuts.png").read_bytes()[:4] == b"\x89PNG"


MEDICAL = re.compile(r"\b(lungs?|medicine|disease|radiographs?|scanner)\b", re.IGNORECASE)


@pytest.mark.usefixtures("few_trees", "undrawn")
def test_the_words_fit_the_subject(pool, tmp_path, cli):
    """Of photographs of cats and dogs nothing medical is said; of radiographs, lungs are spoken of."""
    labels = coin(24)
    marked = [image.copy() for image in pool[:24]]
    for image, label in zip(marked, labels, strict=True):
        if label == "covid":
            image.paste(255, (0, 0, 40, 40))
    said = {}
    for kind, name in (
        ("animals", {"covid": "cat", "normal": "dog"}),
        ("chests", {"covid": "COVID-19", "normal": "normal"}),
    ):
        data = lay_out(tmp_path / kind, marked, [name[label] for label in labels])
        done = cli("audit", "--data", data, "--out", tmp_path / f"{kind}-audit")
        assert "shortcut: " in done.out, done.err
        said[kind] = done.out + str(
            [s["verdict"] for s in json.loads((tmp_path / f"{kind}-audit" / "run.json").read_text())["shortcuts"]]
        )
    assert not MEDICAL.findall(said["animals"])
    assert "without the subject" in said["animals"]
    assert "without seeing the subject" in said["animals"]
    assert "without a lung" in said["chests"]
    assert "without seeing a lung" in said["chests"]


@pytest.mark.parametrize(
    ("classes", "chest"),
    [
        (("cat", "dog"), False),
        (("normal", "abnormal"), False),
        (("icu", "ward"), False),
        (("a_covid_19", "x"), True),
        (("Pleural Effusion", "none"), True),
        (("pneumonia_bac", "normal"), True),
        (("tbilisi", "effusions"), False),
    ],
)
def test_what_images_are_of_follows_from_whole_words_of_their_classes(classes, chest):
    assert (words_for(classes).column == "without a lung") == chest


@pytest.mark.slow
def test_a_file_format_of_one_class_is_flagged(pool, tmp_path):
    labels = coin(60)
    for number, label in enumerate(labels):
        place = tmp_path / "data" / label
        place.mkdir(parents=True, exist_ok=True)
        wide = pool[number].resize((240, 200 if label == "covid" else 230))
        wide.save(place / f"{number}.png")
    result = audit(tmp_path / "data", cache=tmp_path / "cache", out=tmp_path / "o")
    assert "file properties" in flagged(result)
    assert "corners" not in flagged(result)


# -- copies -------------------------------------------------------------------------------------


def recoded(image: Image.Image, side: int = 180, quality: int = 60) -> Image.Image:
    data = io.BytesIO()
    image.resize((side, side), Image.Resampling.LANCZOS).save(data, "JPEG", quality=quality)
    return Image.open(io.BytesIO(data.getvalue()))


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize("size", SIZES)
def test_copies_across_splits_are_found(size, pool, tmp_path):
    images, labels = list(pool[:size]), coin(size)
    splits = ["train" if number % 4 else "test" for number in range(size)]
    # Of images 1, 2 and 3, which are in train: the same file, one re-encoded and mirrored, one brighter; in test.
    images += [
        pool[1],
        recoded(pool[2]).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        ImageEnhance.Brightness(recoded(pool[3], 230)).enhance(1.25),
    ]
    labels, splits = labels + labels[1:4], splits + ["test"] * 3
    data = lay_out(tmp_path / "data", images, labels, splits)
    result = audit(data, cache=tmp_path / "cache", out=tmp_path / "o")
    assert [{Path(path).name for path in group["paths"]} for group in result["duplicates"]] == [
        {"image0001.png", f"image{size:04d}.png"}
    ]
    assert found(result) == {frozenset((f"image{k:04d}.png", f"image{size + k - 1:04d}.png")) for k in (2, 3)}
    assert sorted(pair["how"] for pair in result["near_duplicates"]) == ["", "mirrored"]
    with open(tmp_path / "o" / "near_duplicates.csv") as file:
        assert [row["how"] for row in csv.DictReader(file)] == [pair["how"] for pair in result["near_duplicates"]]
    assert result["split_leaks"] == {"duplicates": 1, "near_duplicates": 2}
    assert any(
        text.startswith("leak: 1 set of identical files and 2 pairs of near-copies in different splits")
        for text in result["warnings"]
    )
    with open(tmp_path / "o" / "manifest.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == size + 3
    where = {Path(row["path"]).name: (row["group"], row["split"]) for row in rows}
    for k in (1, 2, 3):  # each pair is one group in one split now
        assert where[f"image{k:04d}.png"] == where[f"image{size + k - 1:04d}.png"]
    assert featcache.data.dataset.open_dataset(tmp_path / "o" / "manifest.csv").splits.count("test") > 0
    assert (tmp_path / "o" / "near_duplicates.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.usefixtures("few_trees", "undrawn")
def test_copies_by_the_hundred_are_one_group(pool, tmp_path):
    data = lay_out(tmp_path / "data", [*pool[:24], *[pool[0]] * 100], [*coin(24), *["covid"] * 100])
    result = audit(data, cache=tmp_path / "cache", out=tmp_path / "o")
    assert [len(group["paths"]) for group in result["duplicates"]] == [101]
    assert result["near_duplicates"] == []
    with open(tmp_path / "o" / "manifest.csv") as file:
        assert len({row["group"] for row in csv.DictReader(file)}) == 24


@pytest.mark.usefixtures("few_trees", "undrawn")
@pytest.mark.parametrize("size", SIZES)
def test_one_patient_under_two_names(size, pool, tmp_path):
    images, labels = [*pool[:size], recoded(pool[5], 200)], coin(size)
    labels.append("covid" if labels[5] == "normal" else "normal")  # and labelled differently the second time
    folder = lay_out(tmp_path / "images", images, labels)
    names = sorted(path.relative_to(tmp_path) for path in folder.glob("*/*.png"))
    numbers = [int(name.stem[5:]) for name in names]
    lines = [f"{name},{name.parent.name},patient{number // 2}" for name, number in zip(names, numbers, strict=True)]
    manifest = tmp_path / "data.csv"
    manifest.write_text("path,label,group\n" + "\n".join(lines))
    result = audit(manifest, cache=tmp_path / "cache", out=tmp_path / "o")
    assert [pair["kind"] for pair in result["near_duplicates"]] == ["label conflict"]
    assert set(result["near_duplicates"][0]["groups"]) == {"patient2", f"patient{size // 2}"}
    assert any(text.startswith("labels: 1 pair of copies labelled differently") for text in result["warnings"])
    with open(tmp_path / "o" / "manifest.csv") as file:
        groups = {Path(row["path"]).stem: row["group"] for row in csv.DictReader(file)}
    assert len({groups[f"image{n:04d}"] for n in (4, 5, size)}) == 1  # both of patient2, and the other name's
    assert len(set(groups.values())) == len({line.split(",")[2] for line in lines}) - 1


@pytest.mark.usefixtures("few_trees", "undrawn")
def test_a_group_in_two_splits_is_named(pool, tmp_path):
    data = lay_out(tmp_path / "data", pool[:40], coin(40), ["train" if n % 2 else "test" for n in range(40)])
    result = audit(data, group_regex=r"image00(\d)", cache=tmp_path / "cache", out=tmp_path / "o")
    assert {leak["group"] for leak in result["group_leaks"]} == {"0", "1", "2", "3"}
    assert any("4 groups in more than one split" in text for text in result["warnings"])


def test_linked_images_merge_their_groups():
    assert merged_groups(["a", "b", "c", "d"], [(0, 1), (1, 2)]) == ["a", "a", "a", "d"]
    assert merged_groups(["p", "q", "p", "r"], []) == ["p", "q", "p", "r"]


@pytest.mark.slow
def test_folds_that_tear_patients_apart_overestimate(pool, tmp_path):
    """Five pictures of each patient, whose label means nothing: only a leak can tell it."""
    images, lines = [], []
    rng = np.random.default_rng(0)
    labels = coin(30)
    for number in range(30):
        for _ in range(5):
            shift = tuple(int(v) for v in rng.integers(-12, 12, 2))
            images.append(pool[number].transform((256, 256), Image.Transform.AFFINE, (1, 0, shift[0], 0, 1, shift[1])))
            lines.append(f"images/{labels[number]}/image{len(images) - 1:04d}.png,{labels[number]},{number}")
    lay_out(tmp_path / "images", images, [label for label in labels for _ in range(5)])
    (tmp_path / "data.csv").write_text("path,label,group\n" + "\n".join(lines))
    result = audit(tmp_path / "data.csv", cache=tmp_path / "cache", out=tmp_path / "o")
    inflation = result["leak_inflation"]
    assert inflation["image_wise"] > 0.65
    assert inflation["group_wise"] < 0.6
    assert 0.05 < inflation["interval"][0] < inflation["difference"] < inflation["interval"][1]
    assert inflation["difference"] == pytest.approx(inflation["image_wise"] - inflation["group_wise"])
    assert any(text.startswith("leak inflation") for text in result["warnings"])
    assert flagged(result) == set()  # the probes' own folds keep patients whole


# -- images unfit to learn from -------------------------------------------------------------------


@pytest.mark.usefixtures("few_trees", "undrawn")
def test_faulty_images_are_told_apart(pool, tmp_path):
    odd = [
        pool[0].resize((40, 40)),
        Image.new("L", (200, 200), 90),
        Image.eval(pool[1], lambda value: 255 - value),
        Image.eval(pool[2], lambda value: 100 + value // 12),
    ]
    data = lay_out(tmp_path / "data", [*odd, *pool[3:23]], coin(24))
    broken = data / "covid" / "broken.png"
    broken.write_bytes(b"no image")
    result = audit(data, cache=tmp_path / "cache", out=tmp_path / "o")
    names = {fault: [Path(path).name for path in paths] for fault, paths in result["quality"].items()}
    assert names == {
        "tiny": ["image0000.png"],
        "blank": ["image0001.png"],
        "inverted": ["image0002.png"],
        "low_contrast": ["image0003.png"],
        "blurred": [],
        "overexposed": [],
        "underexposed": [],
        "odd_aspect": [],
        "burnt-in_text": [],
        "stray_colour": [],
        "stray_grey": [],
    }
    assert [one["fault"] for one in result["unfit"]] == ["tiny", "blank", "inverted", "low contrast"]
    assert [entry["path"] for entry in result["unreadable"]] == [str(broken)]
    assert "images: 1 cannot be read" in result["warnings"]
    with open(tmp_path / "o" / "faults.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["fault"] for row in rows] == ["tiny", "blank", "inverted", "low contrast", "unreadable"]
    assert float(rows[0]["value"]) == 40
    assert rows[0]["said"] == "its shorter side has 40 pixels"
    assert str(broken) not in (tmp_path / "o" / "manifest.csv").read_text()


def test_nothing_to_audit(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        audit(tmp_path / "nowhere", cache=tmp_path / "cache")


# -- what is found goes with the images -----------------------------------------------------------


@pytest.mark.usefixtures("few_trees", "undrawn")
def test_warnings_and_groups_travel_with_the_images(pool, tmp_path):
    labels = coin(40)
    marked = [image.copy() for image in pool[:40]]
    for image, label in zip(marked, labels, strict=True):
        if label == "covid":
            ImageDraw.Draw(image).text((8, 8), "PORTABLE", fill=255)
    data = lay_out(tmp_path / "data", [*marked, recoded(marked[7])], [*labels, labels[7]])
    cache = tmp_path / "cache"
    featcache.extract(data, "mobilenet", weights="random", size=64, cache=cache)
    settings = {"pooling": "avg", "epochs": 1, "cache": cache}
    before = fit_head(out=tmp_path / "f1", **settings)
    assert before.result["warnings"][0].startswith("not audited")
    audited = audit(data, cache=cache, out=tmp_path / "o")
    assert audited["features"].startswith("mobilenet")
    (tmp_path / "data").rename(tmp_path / "moved")
    after = fit_head(data=tmp_path / "moved", out=tmp_path / "f2", **settings)
    assert after.result["warnings"][: len(audited["warnings"])] == audited["warnings"]
    pair = [number for number, path in enumerate(after.features.paths) if path.endswith(("0007.png", "0040.png"))]
    assert len(set(after.features.groups[pair])) == 1
    assert len(set(before.features.groups[pair])) == 2
    assert sum(set(pair) <= set(part.tolist()) for part in after.parts.parts().values()) == 1
    record = next((cache / "audits").glob("*.json"))
    record.write_text("{")
    with pytest.raises(StoreError, match="not a readable record of an audit"):
        fit_head(data=tmp_path / "moved", out=tmp_path / "f3", **settings)


# -- real radiographs ----------------------------------------------------------------------------


@pytest.mark.usefixtures("few_trees", "undrawn")
def test_a_sample_of_whole_groups_where_it_is_asked_for(pool, tmp_path, monkeypatch):
    data = lay_out(tmp_path / "data", pool[:60], coin(60))
    for number, path in enumerate(sorted(data.rglob("*.png"))):
        path.rename(path.with_name(f"person{number // 3}_virus_{number}.png"))
    where = {"cache": tmp_path / "cache"}
    featcache.extract(data, "pixels", size=24, **where)
    result = audit(data, task="binary", out=tmp_path / "a", limit=31, **where)
    assert (result["images"], result["of"]) == (30, 60)
    looked = list(csv.DictReader((tmp_path / "a" / "manifest.csv").open()))
    groups = [row["group"] for row in looked]
    assert len(groups) == 30
    assert all(groups.count(group) == 3 for group in groups)
    assert any("30 of 60 images" in text for text in result["warnings"])
    # It speaks for all of them.
    fitted = fit_head("binary", backbone="pixels", units=2, epochs=1, out=tmp_path / "run", data=data, **where)
    assert fitted.result["warnings"] == result["warnings"]
    with pytest.raises(UsageError, match="at least 2 images"):
        audit(data, task="binary", out=tmp_path / "b", limit=1, **where)
    monkeypatch.setattr("featcache.system.memory.available", lambda: 31)
    with pytest.raises(UsageError, match=r"an audit of 60 images takes .* \(--limit N\)"):
        audit(data, task="binary", out=tmp_path / "c", **where)


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(not (REFERENCE / "data").is_dir(), reason="needs the reference radiographs")
def test_the_case_it_must_catch(tmp_path):
    """Children against adults: the labels can be told without a lung."""
    data = REFERENCE / "data" / "xray4"
    result = audit(
        data, task="binary", against=REFERENCE / "data" / "external", cache=tmp_path / "cache", out=tmp_path / "o"
    )
    assert {"file properties", "border"} <= flagged(result)
    scores = {row["probe"]: row["score"] for row in result["shortcuts"]}
    # The same two questions, asked anew with nothing of ours.
    properties, borders, y = [], [], []
    for path in sorted([*data.glob("*/covid/*"), *data.glob("*/normal/*")]):
        with Image.open(path) as image:
            width, height = image.size
            size = path.stat().st_size
            properties.append([width, height, width / height, len(image.getbands()), size, size / width / height])
            pixels = np.asarray(image.convert("L").resize((128, 128), Image.Resampling.BILINEAR)).copy()
            pixels[12:-12, 12:-12] = 0
            borders.append(pixels.ravel())
        y.append(path.parent.name == "covid")
    folds = StratifiedKFold(5, shuffle=True, random_state=1)
    for name, X in (("file properties", properties), ("border", borders)):
        forest = RandomForestClassifier(300, random_state=1, n_jobs=2)
        alone = cross_val_score(forest, np.array(X), y, cv=folds, scoring="balanced_accuracy").mean()
        assert abs(scores[name] - alone) < 0.05, name
    pairs = result["against"]["near_duplicates"]
    same_name = sum(Path(pair["a"]).stem == Path(pair["b"]).stem for pair in pairs)
    assert same_name >= 22  # of 30; without features it was 24, with VGG16's 26
    assert len(pairs) - same_name <= 2  # one image is kept under two names


@pytest.mark.real
@pytest.mark.skipif(not (REFERENCE / "data").is_dir(), reason="needs the reference radiographs")
def test_crops_are_found_and_patients_told_apart():
    """Each real radiograph against a crop of itself among all the others: found, and nothing else is."""
    paths = sorted((REFERENCE / "data" / "xray4" / "test" / "normal").iterdir())
    images = [Image.open(path).convert("L") for path in paths]
    crops = []
    for image in images[:10]:
        width, height = image.size
        crops.append(image.crop((width // 12, height // 14, width - width // 16, height - height // 10)))
    everything = images + crops
    summaries = summaries_of(everything)
    squares = np.stack([one.square for one in summaries])
    # In place of a backbone's features, which bring a crop near its original: coarse shades do it for these.
    features = np.stack([np.asarray(Image.fromarray(s).resize((8, 8), Image.Resampling.BOX)).ravel() for s in squares])
    features = np.concatenate([features[: len(images)], features[:10] + 0.5]).astype(np.float32)
    pairs = near_duplicates(summaries, sketches_of(summaries), features)
    assert {(pair.a, pair.b) for pair in pairs} == {(k, len(images) + k) for k in range(10)}


# -- the verbs ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_trees", "undrawn")
def test_the_verb_and_what_it_leaves_behind(cli, pool, tmp_path):
    labels = coin(40)
    marked = [image.copy() for image in pool[:40]]
    for image, label in zip(marked, labels, strict=True):
        if label == "covid":
            ImageDraw.Draw(image).text((8, 8), "PORTABLE", fill=255)
    data = lay_out(tmp_path / "data", marked, labels)
    other = lay_out(tmp_path / "other", [recoded(marked[3]), *pool[50:54]], ["covid"] * 5)
    featcache.extract(data, "mobilenet", weights="random", size=64, cache=tmp_path / "cache")
    # Unasked, before the figures.
    fitted = cli("fit-head", "--task", "binary", "--pooling", "avg", "--epochs", 1)
    assert "audit: looking at 40 images" in fitted.err
    assert re.search(r"^! shortcut: .* by corners", fitted.out, re.MULTILINE)
    assert len(list((tmp_path / "runs").glob("audit-*"))) == 1
    again = fit_head("binary", pooling="avg", epochs=1, cache=tmp_path / "cache", out=tmp_path / "again", audit=True)
    assert again.result["warnings"][0].startswith("shortcut")
    assert len(list((tmp_path / "runs").glob("audit-*"))) == 1  # once
    assert open_bundle(again.result["bundle"]).warnings == again.result["warnings"]
    asked = cli("audit", "--task", "binary", "--against", other, "--json")
    assert asked.code == 0
    wanted = {"duplicates", "near_duplicates", "split_leaks", "group_leaks", "shortcuts", "unreadable"}
    assert wanted <= set(asked.json)
    assert asked.json["against"]["shared_images"] == 1


# -- negatives, told by the set -------------------------------------------------------------------


def cells(count: int, centred: bool, seed: int = 0) -> list[Image.Image]:
    """Pictures as a microscope gives them: dark cells on a bright ground, anywhere or one in the middle."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:128, :128]
    pictures = []
    for _ in range(count):
        picture = rng.uniform(190, 235) + rng.normal(0, 4, (128, 128)) + rng.normal(0, 12) * (columns - 64) / 64
        places = rng.normal(64, 6, (1, 2)) if centred else rng.uniform(0, 128, (rng.integers(4, 25), 2))
        for row, column in places:
            far = np.hypot(rows - row, (columns - column) * rng.uniform(0.7, 1.4))
            radius = rng.uniform(14, 30) if centred else rng.uniform(5, 16)
            picture -= rng.uniform(40, 120) / (1 + np.exp((far - radius) / 1.5))
        pictures.append(Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)))
    return pictures


def photographs(count: int) -> list[Image.Image]:
    """Parts of two photographs."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(1)
    whole = [Image.fromarray(image).convert("L") for image in load_sample_images().images]
    corners = [(int(rng.integers(0, 440)), int(rng.integers(0, 227))) for _ in range(count)]
    return [whole[i % 2].crop((x, y, x + 200, y + 200)) for i, (x, y) in enumerate(corners)]


def digits(count: int) -> list[Image.Image]:
    from sklearn.datasets import load_digits

    return [
        Image.fromarray((255 - image * 15).astype(np.uint8)).resize((64, 64)) for image in load_digits().images[:count]
    ]


def sketches_of(summaries) -> Sketches:
    return Sketches(*(np.stack(parts) for parts in zip(*(sketch(one.square) for one in summaries), strict=True)))


def inverted(summaries) -> np.ndarray:
    alike = shared_shades(sketches_of(summaries).cells)
    return np.zeros(len(summaries), bool) if alike is None else alike < AGAINST


def summaries_of(pictures) -> list:
    found = []
    for picture in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        found.append(summary_of(buffer.getvalue()))
    return found


@pytest.mark.parametrize(
    "pictures",
    [
        lambda: cells(300, centred=True),
        lambda: cells(300, centred=False),
        lambda: photographs(200),
        lambda: digits(300),
        lambda: [*cells(60, True), *(Image.eval(picture, lambda value: 255 - value) for picture in cells(60, True, 1))],
    ],
    ids=["cells in the middle", "cells anywhere", "photographs", "digits", "bright and dark fields"],
)
def test_pictures_that_are_no_radiographs_are_not_called_inverted(pictures):
    assert sum(inverted(summaries_of(pictures()))) == 0


def test_negatives_among_radiographs_are_found(pool):
    turned = [
        Image.eval(image, lambda value: 255 - value) if i % 12 == 5 else image for i, image in enumerate(pool[:120])
    ]
    assert np.flatnonzero(inverted(summaries_of(turned))).tolist() == list(range(5, 120, 12))
    assert not any(inverted(summaries_of(pool[:6])))  # too few to tell


@pytest.mark.real
@pytest.mark.parametrize("part", ["xray4", "external", "nih", "hannover"])
def test_negatives_among_real_radiographs_are_found(part, reference):
    paths = sorted(path for path in (reference / "data" / part).rglob("*") if path.suffix in (".png", ".jpg", ".jpeg"))
    upright = sketches_of([summary_of(path.read_bytes()) for path in paths]).cells

    def called(cells: np.ndarray) -> np.ndarray:
        alike = shared_shades(cells)
        return np.zeros(len(cells), bool) if alike is None else alike < AGAINST

    assert called(upright).sum() <= 1
    negatives = others = 0
    for turn in range(10):  # each image is a negative once, among nine upright ones
        mixed = upright.copy()
        mixed[turn::10] = 16 * 255 - upright[turn::10]
        marked = called(mixed)
        negatives += marked[turn::10].sum()
        others += marked.sum() - marked[turn::10].sum()
    assert negatives / len(upright) >= 0.92, f"{negatives} of {len(upright)}"
    assert others <= 10, f"{others} upright ones in ten turns"
