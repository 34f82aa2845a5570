"""The decode function, rule by rule."""

from __future__ import annotations

import functools
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featcache.data import image_headers
from featcache.data.decoding import MAX_PIXELS, ImageError, decode


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


def decode_damaged(whole: bytearray, data: st.DataObject) -> None:
    """Change some bytes and cut some off: what is left is a picture, or refused."""
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(whole[: data.draw(st.integers(1, len(whole)))]), 8)
    except ImageError:
        return
    assert pixels.shape == (8, 8, 3)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # which says what it found before it goes on
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"]), st.data())
def test_damaged_files_raise_nothing_else(format, data):
    whole = bytearray(encoded(Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)), format))
    decode_damaged(whole, data)


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


# -- files that promise more than they hold ----------------------------------------------------------


def saved(dataset, syntax) -> bytes:
    pydicom = pytest.importorskip("pydicom")
    dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def opened(data: bytes):
    return pytest.importorskip("pydicom").dcmread(io.BytesIO(data))


def encapsulated(frames: list[bytes], grey: np.ndarray, syntax: str, **elements) -> bytes:
    dataset = opened(dicom(grey, **elements))
    dataset.PixelData = pytest.importorskip("pydicom").encaps.encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    return saved(dataset, syntax)


def inflating(size: int) -> bytes:
    """A deflated DICOM file of a few kilobytes, in which an element of so many zeros stands behind the image."""
    data = saved(opened(dicom(RAMP)), "DeflatedExplicitVRLittleEndian")
    start = 132 + 12 + struct.unpack("<I", data[140:144])[0]  # behind the file's meta information
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [data[:start], packer.compress(zlib.decompress(data[start:], -15))]
    parts.append(packer.compress(struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, size)))
    parts += [packer.compress(bytes(1_000_000)) for _ in range(size // 1_000_000)]
    return b"".join([*parts, packer.flush()])


def test_a_deflated_dicom_is_read(tmp_path):
    np.testing.assert_array_equal(
        decode(saved(opened(dicom(RAMP)), "DeflatedExplicitVRLittleEndian")), decode(dicom(RAMP))
    )
    np.testing.assert_array_equal(decode(inflating(3_000_000)), decode(dicom(RAMP)))
    with pytest.raises(ImageError, match="cut short"):
        decode(inflating(3_000_000)[:-200])


def test_a_deflated_dicom_that_inflates_without_end_is_refused():
    data = inflating(450_000_000)
    assert len(data) < 600_000
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="inflates to more than 384 MB"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000_000
    finally:
        tracemalloc.stop()


SMALL = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize(
    ("format", "syntax", "options"),
    [
        ("JPEG", "JPEGBaseline8Bit", {}),
        ("JPEG2000", "JPEG2000Lossless", {"no_jp2": True}),
        ("JPEG2000", "JPEG2000Lossless", {}),
    ],
)
def test_a_frame_that_promises_more_than_its_header(format, syntax, options):
    own = encapsulated([encoded(Image.fromarray(SMALL), format, **options)], SMALL, syntax)
    np.testing.assert_allclose(decode(own)[:, :, 0].astype(int), decode(dicom(SMALL))[:, :, 0], atol=3)
    large = encoded(Image.new("L", (3000, 2000)), format, **options)
    with pytest.raises(ImageError, match="frame promises 3000 x 2000 pixels of 1 components, its header 16 x 16"):
        decode(encapsulated([large], SMALL, syntax))
    with pytest.raises(ImageError, match="frame"):
        decode(encapsulated([b"no picture at all"], SMALL, syntax))


@pytest.mark.parametrize("marker", [0xC3, 0xF7])  # lossless, JPEG-LS
def test_what_jpegs_promise_that_pillow_does_not_read(marker):
    frame = (
        b"\xff\xd8\xff\xe0\0\x04xx\xff\xff" + bytes([marker]) + struct.pack(">HBHHB", 11, 8, 7000, 9000, 1) + bytes(40)
    )
    assert image_headers.promised(frame) == (9000, 7000, 1)
    with pytest.raises(ValueError, match="no size"):
        image_headers.promised(frame[:12])


def test_an_rle_frame_that_promises_more_than_its_header():
    pydicom = pytest.importorskip("pydicom")
    dataset = opened(dicom(RAMP))
    dataset.compress(pydicom.uid.RLELossless)
    np.testing.assert_array_equal(decode(saved(dataset, "RLELossless")), decode(dicom(RAMP)))
    flood = b"\x81\0" * 500_000  # each pair stands for 128 bytes
    frame = struct.pack("<16I", 2, 64, 64 + len(flood), *[0] * 13) + flood * 2
    with pytest.raises(ImageError, match="RLE frame promises more"):
        decode(encapsulated([frame], RAMP, "RLELossless"))
    with pytest.raises(ImageError, match="segments"):
        decode(encapsulated([bytes(80)], RAMP, "RLELossless"))


def test_the_first_of_many_compressed_frames():
    frames = [encoded(Image.fromarray(grey), "JPEG2000", no_jp2=True) for grey in (SMALL, SMALL[::-1].copy())]
    data = encapsulated(frames, SMALL, "JPEG2000Lossless", NumberOfFrames=2)
    np.testing.assert_array_equal(decode(data), decode(dicom(SMALL)))
    dataset = opened(data)
    packed, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = pytest.importorskip(
        "pydicom"
    ).encaps.encapsulate_extended(frames)
    dataset.PixelData = packed
    np.testing.assert_array_equal(decode(saved(dataset, "JPEG2000Lossless")), decode(dicom(SMALL)))


def palette(**elements) -> bytes:
    dataset = opened(dicom(SMALL))
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    table = np.arange(256, dtype=np.uint16) * 257
    for name, values in (("Red", table), ("Green", table[::-1].copy()), ("Blue", np.zeros_like(table))):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        dataset[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(dataset, f"{name}PaletteColorLookupTableData", values.tobytes())
    for name, value in elements.items():
        setattr(dataset, name, value)
    return saved(dataset, "ExplicitVRLittleEndian")


def test_a_dicom_with_a_palette_is_in_colour():
    np.testing.assert_array_equal(decode(palette()), np.stack([SMALL, 255 - SMALL, np.zeros_like(SMALL)], axis=2))


@pytest.mark.parametrize(
    "data",
    [
        lambda: palette(RedPaletteColorLookupTableData=b"xx"),
        lambda: palette(SegmentedRedPaletteColorLookupTableData=b"\1\0\xff\xff\0\0"),
        lambda: dicom(RAMP, WindowCenter=100, WindowWidth=0),
        lambda: dicom(RAMP, WindowCenter=[], WindowWidth=[1, 2]),
        lambda: dicom(RAMP, NumberOfFrames=2_000_000_000, PixelData=b"xx"),
        lambda: dicom(RAMP, SamplesPerPixel=200),
        lambda: dicom(RAMP, BitsAllocated=7),
        lambda: dicom(RAMP, RescaleSlope="1e400"),
    ],
)
def test_a_broken_dicom_is_a_bad_image_or_a_picture(data):
    try:
        data = data()
    except (ValueError, OverflowError):
        pytest.skip("pydicom does not write this")
    try:
        pixels = decode(data)
    except ImageError:
        return
    assert pixels.shape == (16, 16, 3)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["plain", "deflated", "jpeg", "rle", "palette", "frames"]), st.data())
def test_a_damaged_dicom_raises_nothing_else(kind, data):
    whole = bytearray(_WHOLE[kind]())
    decode_damaged(whole, data)


@functools.cache
def _rle() -> bytes:
    dataset = opened(dicom(RAMP))
    dataset.compress(pytest.importorskip("pydicom").uid.RLELossless)
    return saved(dataset, "RLELossless")


_WHOLE = {
    "plain": functools.cache(
        lambda: dicom(RAMP, RescaleSlope=2, RescaleIntercept=-5, WindowCenter=3000, WindowWidth=2001)
    ),
    "deflated": functools.cache(lambda: saved(opened(dicom(RAMP)), "DeflatedExplicitVRLittleEndian")),
    "jpeg": functools.cache(lambda: encapsulated([encoded(Image.fromarray(SMALL), "JPEG")], SMALL, "JPEGBaseline8Bit")),
    "rle": _rle,
    "palette": functools.cache(palette),
    "frames": functools.cache(lambda: dicom(np.stack([RAMP, RAMP]))),
}


def test_a_small_tiff_with_a_vast_tile_is_refused():
    def entry(tag: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, 4, 1, value)

    tags = [
        (256, 16),
        (257, 16),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        (322, 30000),
        (323, 30000),
        (324, 200),
        (325, 100),
    ]
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entry(*tag) for tag in tags) + bytes(4)
    with pytest.raises(ImageError, match="tiles of 30000 x 30000"):
        decode(data.ljust(200, b"\0") + zlib.compress(bytes(1_000_000)))
