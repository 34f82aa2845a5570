"""Copies are found however they were turned, among few images and many; what proves nothing makes no pairs."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
from PIL import Image

from featcache.data.synthetic import draw
from heads.auditing import near_duplicates as module
from heads.auditing.image_summary import ImageSummary, summary_of
from heads.auditing.near_duplicates import near_duplicates
from heads.auditing.nearest_rows import pairs_above, pairs_in_cells
from heads.auditing.sketches import SYMMETRIES, Sketches, frequencies, invariants, sketch, turned

TURN = Image.Transpose
# How Pillow, which knows nothing of ours, makes each of a picture; its turns are counter-clockwise.
BY_PILLOW = {
    "": None,
    "mirrored": TURN.FLIP_LEFT_RIGHT,
    "mirrored top to bottom": TURN.FLIP_TOP_BOTTOM,
    "turned by 90 degrees": TURN.ROTATE_270,
    "turned by 180 degrees": TURN.ROTATE_180,
    "turned by 270 degrees": TURN.ROTATE_90,
    "mirrored and turned by 90 degrees": TURN.TRANSVERSE,
    "mirrored and turned by 270 degrees": TURN.TRANSPOSE,
}


@functools.cache
def drawn(number: int) -> Image.Image:
    return Image.fromarray(draw("normal", np.random.default_rng([9, number]))).crop((0, 0, 240, 256))


def summarised(images, kind: str = "JPEG") -> list[ImageSummary]:
    summaries = []
    for image in images:
        data = io.BytesIO()
        image.save(data, kind)
        summaries.append(summary_of(data.getvalue()))
    return summaries


def sketches_of(summaries: list[ImageSummary]) -> Sketches:
    return Sketches(*(np.stack(parts) for parts in zip(*(sketch(one.square) for one in summaries), strict=True)))


def by_pillow(image: Image.Image, how: str) -> Image.Image:
    way = BY_PILLOW[how]
    return image if way is None else image.transpose(way)


@pytest.fixture(scope="module")
def mixed() -> tuple[list[ImageSummary], dict[tuple[int, int], str]]:
    """Twenty radiographs, and one of each of eight more by each symmetry, smaller and encoded anew."""
    images = [drawn(number) for number in range(20)]
    pairs = {}
    for number, how in enumerate(BY_PILLOW):
        pairs[number, len(images)] = how
        copy = by_pillow(drawn(number), how)
        images.append(copy.resize((copy.width * 3 // 4, copy.height * 3 // 4), Image.Resampling.LANCZOS))
    return summarised(images), pairs


def test_each_of_the_eight_symmetries_is_found_and_named(mixed):
    summaries, planted = mixed
    found = near_duplicates(summaries, sketches_of(summaries))
    assert {(pair.a, pair.b): pair.how for pair in found} == planted


def test_the_same_pairs_within_cells(mixed, monkeypatch):
    summaries, planted = mixed
    monkeypatch.setattr(module, "EXACT", 5)
    found = near_duplicates(summaries, sketches_of(summaries))
    assert {(pair.a, pair.b): pair.how for pair in found} == planted
    assert found == near_duplicates(summaries, sketches_of(summaries), seed=0)
    across = near_duplicates(summaries, sketches_of(summaries), first=20)
    assert {(pair.a, pair.b): pair.how for pair in across} == planted
    assert not near_duplicates(summaries, sketches_of(summaries), first=24) or all(
        pair.a < 24 <= pair.b for pair in near_duplicates(summaries, sketches_of(summaries), first=24)
    )


@pytest.mark.parametrize("how", SYMMETRIES)
def test_a_symmetry_is_the_same_in_pixels_and_frequencies(how):
    square = summarised([drawn(0)])[0].square
    assert (turned(square, how) == np.asarray(by_pillow(Image.fromarray(square), how))).all()
    plain, other = (sketch(picture)[0][None] for picture in (square, turned(square, how)))
    assert float((frequencies(plain, how) * frequencies(other)).sum()) > 0.999
    assert np.allclose(invariants(plain), invariants(other), atol=0.6)  # amplitudes are whole numbers up to 127


def test_rows_within_cells_are_those_of_each_with_each():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3000, 64)).astype(np.float32)
    rows[1000:1200] = 0.9 * rows[:200] + 0.43 * rows[1000:1200]
    rows[2999] = 0
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    exact = pairs_above(rows, 0.7, 10)
    assert len(exact) >= 200
    found = pairs_in_cells(len(rows), lambda at: rows[at], 0.7, 10)
    assert found <= exact
    assert len(found) >= 0.98 * len(exact)
    # The two nearest of each, a product of which all have.
    few = pairs_in_cells(len(rows), lambda at: rows[at], 0.0, 2)
    assert len(few & pairs_above(rows, 0.0, 2)) > 0.5 * len(few)
    across = pairs_in_cells(len(rows), lambda at: rows[at], 0.7, 10, first=1000)
    assert across == {pair for pair in found if pair[0] < 1000 <= pair[1]}


@pytest.mark.parametrize("exact", [5, 10_000])
def test_frames_of_one_film_do_not_multiply(exact, monkeypatch):
    """Of 80 frames there are 3,160 pairs; a few times as many as frames are enough to keep them together."""
    monkeypatch.setattr(module, "EXACT", exact)
    monkeypatch.setattr(module, "_AT_ONCE", 64)
    rng = np.random.default_rng(0)
    base = np.asarray(drawn(3), np.int16)
    frames = [
        Image.fromarray(np.clip(base + rng.integers(-2, 3, base.shape), 0, 255).astype(np.uint8)) for _ in range(80)
    ]
    summaries = summarised([*frames, *(drawn(number) for number in range(10, 20))], "PNG")
    pairs = near_duplicates(summaries, sketches_of(summaries))
    assert all(pair.b < 80 for pair in pairs)
    assert len(pairs) < 700
    groups = module.merged_groups([str(number) for number in range(90)], [(pair.a, pair.b) for pair in pairs])
    assert len(set(groups[:80])) == 1
    assert len(set(groups)) == 11


def test_the_same_rows_by_the_thousand_are_few_pairs():
    rows = np.ones((3000, 4), np.float32) / 2
    assert len(pairs_above(rows, 0.6, 10)) <= 50 * 3000
    assert pairs_in_cells(3000, lambda at: rows[at], 0.6, 10) == {(0, other) for other in range(1, 3000)}


def test_pictures_of_hardly_any_detail_prove_nothing():
    """8 x 8 pixels blown up: 300 digits made hundreds of pairs, of which nearly all were of other images."""
    from sklearn.datasets import load_digits

    pixels = [(image * 15.9).astype(np.uint8) for image in load_digits().images[:60]]
    summaries = summarised([Image.fromarray(image).resize((64, 64)) for image in pixels], "PNG")
    assert near_duplicates(summaries, sketches_of(summaries)) == []
    again = [*summaries, *summarised([Image.fromarray(pixels[7]).resize((64, 64))], "BMP")]
    assert [(pair.a, pair.b) for pair in near_duplicates(again, sketches_of(again))] == [(7, 60)]


@pytest.mark.real
def test_no_real_radiograph_is_taken_for_another_one_mirrored(reference):
    """Chests are nearly symmetric; their details are not."""
    paths = sorted(path for path in (reference / "data" / "xray4").rglob("*.jp*g"))[::3]
    images = [Image.open(path).convert("L") for path in paths]
    planted = {}
    for number, how in enumerate(name for name in BY_PILLOW if name):
        planted[number, len(images)] = how
        images.append(by_pillow(images[number], how))
    summaries = summarised(images)
    found = near_duplicates(summaries, sketches_of(summaries))
    assert {(pair.a, pair.b): pair.how for pair in found if pair.how} == planted
