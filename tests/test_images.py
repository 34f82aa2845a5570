"""The decode function, rule by rule."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featcache.images import MAX_PIXELS, ImageError, decode


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_grey_becomes_three_equal_channels():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = decode(encoded(Image.fromarray(grey)))
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(pixels[:, :, channel], grey)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("top", [1023, 4095, 16383, 65535])
def test_deep_grey_keeps_its_whole_range(format, top):
    ramp = np.linspace(0, top, 256 * 4).astype(np.uint16).reshape(4, 256)
    pixels = decode(encoded(Image.fromarray(ramp), format))[:, :, 0]
    np.testing.assert_allclose(pixels, ramp / top * 255, atol=0.51)


def test_float_grey_is_stretched_and_nan_refused():
    values = np.linspace(-3.0, 7.0, 64, dtype=np.float32).reshape(8, 8)
    pixels = decode(encoded(Image.fromarray(values), "TIFF"))[:, :, 0]
    np.testing.assert_allclose(pixels, (values + 3) / 10 * 255, atol=0.51)
    values[0, 0] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        decode(encoded(Image.fromarray(values), "TIFF"))


def test_deep_grey_is_rounded_after_resampling_not_before():
    ramp = np.tile(np.linspace(0, 65535, 512).astype(np.uint16), (512, 1))
    exact = decode(encoded(Image.fromarray(ramp)), 64)[32, :, 0].astype(int)
    np.testing.assert_allclose(exact, np.linspace(0.5, 63.5, 64) / 64 * 255, atol=1.1)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composited_on_black(mode):
    image = Image.new("RGBA", (8, 8), (200, 200, 200, 128)).convert(mode)
    np.testing.assert_allclose(decode(encoded(image)), 100, atol=1)


def test_transparent_palette_is_composited_on_black():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 255, 0] + [0] * 756)
    np.testing.assert_array_equal(decode(encoded(image))[0, 0], [0, 255, 0])
    assert decode(encoded(image, transparency=1)).max() == 0


def test_cmyk_and_bilevel_convert():
    red = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))[0, 0]
    assert red[0] > 240
    assert red[1] < 15
    assert red[2] < 15
    assert decode(encoded(Image.new("1", (8, 8), 1))).min() == 255


def test_exif_orientation_is_applied():
    image = Image.fromarray(np.arange(32, dtype=np.uint8).reshape(4, 8) * 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned = decode(encoded(image, exif=exif))
    np.testing.assert_array_equal(turned[:, :, 0], np.rot90(np.asarray(image), -1))


def test_resize_is_antialiased():
    noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    small = decode(encoded(Image.fromarray(noise)), 32)[:, :, 0].astype(float)
    # Every pixel of the result averages some 500 of the source: what is left of the noise is small.
    assert small.std() < 8
    np.testing.assert_allclose(small, noise.reshape(32, 16, 32, 16).mean(axis=(1, 3)), atol=20)


def test_first_frame_of_several():
    frames = [Image.new("L", (8, 8), level) for level in (10, 200)]
    data = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert decode(data).max() == 10


def test_a_bomb_is_refused_before_it_is_unpacked():
    side = int(MAX_PIXELS**0.5) + 1
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))  # noqa: E731
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="pixels"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"hello" * 100, "not an image"), (b"%PDF-1.4" + b" " * 200, "not an image")],
)
def test_what_is_no_image_says_so(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode(data)


def test_a_cut_short_image_is_an_error_not_a_grey_half():
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)), "JPEG")
    with pytest.raises(ImageError, match="truncated"):
        decode(data[: len(data) // 2])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"]), st.data())
def test_damaged_files_raise_nothing_else(format, data):
    whole = bytearray(encoded(Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)), format))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(whole[: data.draw(st.integers(1, len(whole)))]), 8)
    except ImageError:
        return
    assert pixels.shape == (8, 8, 3)


# -- DICOM -----------------------------------------------------------------------------------------


def dicom(pixels: np.ndarray, photometric: str = "MONOCHROME2", **elements) -> bytes:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    colour = photometric == "RGB"
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    frames = pixels if pixels.ndim == (4 if colour else 3) else pixels[None]
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    dataset.BitsAllocated = dataset.BitsStored = pixels.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)


def test_dicom_is_stretched_to_its_range():
    np.testing.assert_allclose(decode(dicom(RAMP))[:, :, 0], RAMP / RAMP.max() * 255, atol=0.51)


def test_monochrome1_is_turned():
    plain, turned = decode(dicom(RAMP)), decode(dicom(RAMP, "MONOCHROME1"))
    np.testing.assert_allclose(turned.astype(int), 255 - plain.astype(int), atol=1)


def test_dicom_rescale_then_window():
    data = dicom(
        RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3000, WindowWidth=2001, VOILUTFunction="LINEAR"
    )
    shown = np.clip((RAMP * 2.0 - 1000 - 2000) / 2000, 0, 1) * 255
    np.testing.assert_allclose(decode(data)[:, :, 0], shown, atol=1.5)


def test_dicom_of_several_frames_gives_the_first():
    frames = np.stack([RAMP, RAMP[::-1]])
    np.testing.assert_array_equal(decode(dicom(frames)), decode(dicom(RAMP)))


def test_colour_dicom():
    colour = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(dicom(colour, "RGB")), colour)


def test_dicom_without_an_image_is_an_error():
    data = dicom(RAMP)
    with pytest.raises(ImageError, match=r"cannot be decoded|no image"):
        decode(data[:400])
