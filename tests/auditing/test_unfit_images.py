"""Images that are unfit are named with what made them so, and sets that are all of one kind are left alone."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from featcache.data.synthetic import draw
from heads.auditing.burnt_in_text import letters
from heads.auditing.fitness_measures import MEASURES, blur
from heads.auditing.image_summary import summary_of
from heads.auditing.sketches import sketch
from heads.auditing.unfit_images import FAULTS, unfit


@functools.cache
def sound() -> tuple[Image.Image, ...]:
    return tuple(Image.fromarray(draw("normal", np.random.default_rng([11, number]))) for number in range(24))


@functools.cache
def photographs() -> tuple[Image.Image, ...]:
    """Parts of two photographs, in colour."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(2)
    whole = [Image.fromarray(image) for image in load_sample_images().images]
    corners = [(int(rng.integers(0, 400)), int(rng.integers(0, 200))) for _ in range(40)]
    return tuple(whole[i % 2].crop((x, y, x + 240, y + 220)) for i, (x, y) in enumerate(corners))


def columns(image: Image.Image) -> tuple[np.ndarray, ...]:
    data = io.BytesIO()
    image.save(data, "PNG")
    one = summary_of(data.getvalue())
    return one.properties, one.measured, sketch(one.square)[1]


def called(images) -> list[dict]:
    rows = [np.stack(parts) for parts in zip(*map(columns, images), strict=True)]
    return unfit([str(place) for place in range(len(images))], *rows)


def lettered(image: Image.Image, word: str = "PORTABLE", size: int = 14) -> Image.Image:
    image = image.copy()
    white = 255 if image.mode == "L" else (255, 255, 255)
    ImageDraw.Draw(image).text((6, 6), word, fill=white, font=ImageFont.load_default(size))
    return image


def darker(pixels: np.ndarray) -> np.ndarray:
    """Seven tenths of them black."""
    return np.maximum(pixels.astype(np.int16) - int(np.quantile(pixels, 0.7)), 0).astype(np.uint8)


PLANTED = {
    "tiny": lambda image: image.resize((60, 60)),
    "blank": lambda image: Image.new("L", image.size, 80),
    "inverted": lambda image: image.point(lambda value: 255 - value),
    "low contrast": lambda image: image.point(lambda value: 100 + value // 12),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(8)),
    "overexposed": lambda image: image.point(lambda value: min(255, value * 3)),
    "underexposed": lambda image: Image.fromarray(darker(np.asarray(image))),
    "odd aspect": lambda image: image.resize((image.width, image.height // 4)),
    "burnt-in text": lettered,
    "stray colour": lambda image: Image.merge("RGB", [image.point(lambda v, g=g: int(v * g)) for g in (0.7, 0.9, 1)]),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_one_unfit_image_among_sound_ones_is_named_with_its_figure(fault):
    images = [*sound()[:5], PLANTED[fault](sound()[5]), *sound()[6:]]
    found = [one for one in called(images) if one["fault"] == fault]
    assert [one["path"] for one in found] == ["5"]
    one = found[0]
    assert one["said"]
    below = fault in ("tiny", "blank", "low contrast", "inverted")
    assert (one["value"] < one["limit"]) if below else (one["value"] >= one["limit"])


def test_a_stray_grey_one_among_photographs():
    images = [*photographs()[:7], photographs()[7].convert("L"), *photographs()[8:]]
    assert [(one["path"], one["fault"]) for one in called(images)] == [("7", "stray grey")]


@pytest.mark.parametrize("images", [sound, photographs], ids=["radiographs", "photographs"])
def test_sound_sets_have_nothing_unfit(images):
    assert called(images()) == []


@pytest.mark.parametrize("fault", ["blurred", "overexposed", "underexposed", "odd aspect", "stray colour", "inverted"])
def test_what_all_images_are_is_no_fault_of_one(fault):
    """Skin is smooth, and a dental panorama wide: beside its like none is unusual."""
    images = [PLANTED[fault](image) for image in sound()]
    assert not [one for one in called(images) if one["fault"] == fault]


@pytest.mark.parametrize("fault", ["blurred", "odd aspect", "stray colour"])
def test_of_a_few_images_none_is_unusual(fault):
    assert called([PLANTED[fault](sound()[0]), *sound()[1:4]]) == []


def test_all_faults_have_a_place_and_a_name():
    assert set(PLANTED) | {"stray grey"} == set(FAULTS)


@pytest.mark.parametrize("size", [12, 16, 24])
def test_letters_are_counted_and_textures_are_not(size):
    image = sound()[0].convert("L")
    assert letters(lettered(image, "AP ERECT", size)) >= 4
    assert letters(image) < 4
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    assert letters(Image.fromarray(noise)) < 4
    board = np.kron(np.indices((10, 10)).sum(axis=0) % 2, np.ones((30, 30))).astype(np.uint8) * 255
    assert letters(Image.fromarray(board)) < 4


def test_measures_are_those_of_numpy():
    image = sound()[0].convert("L")
    pixels = np.asarray(image)
    measured = dict(zip(MEASURES, columns(image)[1], strict=True))
    low, high = np.percentile(pixels, (2, 98))
    assert measured["spread"] == pytest.approx(high - low)
    assert measured["deviation"] == pytest.approx(pixels.std())
    assert measured["white"] == pytest.approx((pixels >= 254).mean())
    assert measured["black"] == pytest.approx((pixels <= 1).mean())
    assert measured["coloured"] == 0


def test_blur_rises_with_blur_and_not_with_contrast():
    image = sound()[0].convert("L").resize((256, 256))
    picture = np.asarray(image, np.float32)
    levels = [blur(np.asarray(image.filter(ImageFilter.BoxBlur(radius)), np.float32)) for radius in (0, 2, 4, 8)]
    assert levels == sorted(levels)
    assert levels[-1] > levels[0] + 0.2
    assert blur(picture / 4) == pytest.approx(levels[0], abs=1e-5)
    assert blur(np.zeros((256, 256), np.float32)) == 0
