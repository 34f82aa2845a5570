"""transformers' networks from folders: the features of their own processor and model, and nothing of theirs run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from pictures import write_images
from PIL import Image
from radiographs import ten

import featcache
from featcache.backbones import processor_files

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
TOLERANCE = 1e-3
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SMALL |= {"image_size": 224}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return folder, ten(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small DINOv2 with a class token and registers in a folder, with its processor."""
    return save(
        tmp_path_factory.mktemp("networks") / "dinov2",
        transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**SMALL, patch_size=14)),
        transformers.BitImageProcessor(size={"shortest_edge": 256}, image_mean=[0.485, 0.456, 0.406]),
    )


def save(folder, model, processor):
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of it to be spoilt."""
    return shutil.copytree(saved, tmp_path / "spoilt")


def set_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def transformers_itself(folder, paths):
    """(n, …) ``last_hidden_state`` from files. Pillow resizes, as here; torchvision moves single grey levels."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.no_grad():
        rows = [
            model(**processor(Image.open(path).convert("RGB"), return_tensors="pt")).last_hidden_state.numpy()
            for path in paths
        ]
    return np.concatenate(rows)


def apart(given, wanted):
    assert given.shape == wanted.shape
    return np.abs(given - wanted).max() / np.abs(wanted).max()


def others():
    """More networks, and the processors that go with them."""
    small = transformers
    yield small.Dinov2Model(small.Dinov2Config(**SMALL, patch_size=14)), small.BitImageProcessor()
    yield small.ViTModel(small.ViTConfig(**SMALL)), small.ViTImageProcessor(resample=3)
    yield small.SiglipVisionModel(small.SiglipVisionConfig(**SMALL)), small.SiglipImageProcessor()
    yield small.CLIPVisionModel(small.CLIPVisionConfig(**SMALL)), small.CLIPImageProcessor()
    sizes = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 64]}
    yield (
        small.ConvNextModel(small.ConvNextConfig(**sizes)),
        small.ConvNextImageProcessor(size={"shortest_edge": 224}),
    )


def compare(folder, pictures, cache):
    data, paths = pictures
    wanted = transformers_itself(folder, paths)
    done = featcache.extract(data, f"hf:{folder}", cache=cache)
    given = featcache.load(f"hf:{folder}", pooling="map", data=data, cache=cache).X
    if wanted.ndim == 4:
        assert apart(given, wanted.transpose(0, 2, 3, 1)) <= TOLERANCE
        return
    prefix = wanted.shape[1] - given.shape[1] * given.shape[2]
    assert apart(given, wanted[:, prefix:].reshape(given.shape)) <= TOLERANCE
    if prefix:
        token = featcache.load(done.feature_set, pooling="cls", data=data, cache=cache).X
        assert apart(token, wanted[:, 0]) <= TOLERANCE


def test_features_are_those_of_its_own_processor_and_model(saved, pictures, tmp_path):
    compare(saved, pictures, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_features_of_more_networks(number, pictures, tmp_path):
    compare(save(tmp_path / "network", *list(others())[number]), pictures, tmp_path / "cache")


def refused(cli, folder, *words, code=4):
    (one,) = write_images(folder.parent / "images", 1)
    done = cli("extract", "--backbone", f"hf:{folder}", "--data", one.parent.parent)
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err


def test_a_folder_that_wants_code_run_is_refused(cli, folder, monkeypatch):
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", lambda *_, **__: pytest.fail("it was loaded"))
    (folder / "code.py").write_text("open('was run', 'w')")
    for name in ("config.json", "preprocessor_config.json"):
        before = (folder / name).read_text()
        set_json(folder / name, auto_map={"AutoModel": "code.Model"})
        refused(cli, folder, "auto_map", "never done here", "ONNX")
        (folder / name).write_text(before)
    assert not (folder.parent / "was run").exists()


def test_pickled_weights_alone_are_refused(cli, folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(cli, folder, "pickled", "pytorch_model.bin", "safetensors")
    (folder / "pytorch_model.bin").unlink()
    refused(cli, folder, "no weights")


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("preprocessor_config.json", {"size": {"shortest_edge": 10**50}}, "shortest_edge"),
        ("preprocessor_config.json", {"image_mean": ["x"]}, "image_mean"),
        ("preprocessor_config.json", {"resample": "\x1b[2J"}, "resample"),
        ("preprocessor_config.json", {"image_std": [float("nan")] * 3}, "image_std"),
        ("config.json", {"hidden_size": 10**50}, "hidden_size"),
        ("config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ("config.json", {"num_channels": 7}, "7 channels"),
        ("config.json", {"model_type": "nosuch"}, "nosuch"),
        ("config.json", {"hidden_size": 48}, "transformers cannot load it"),
        ("config.json", {"num_hidden_layers": 3}, "lack"),
    ],
)
def test_nonsense_in_its_files_is_a_sentence(name, values, words, cli, folder):
    set_json(folder / name, **values)
    refused(cli, folder, words)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"do_pad": True}, "do_pad"),
        ({"do_center_crop": False}, "no square"),
        ({"crop_size": {"height": 224, "width": 112}}, "112 x 224"),
        ({"resample": 0}, "resample 0"),
        ({"image_processor_type": "FlavaImageProcessor"}, "FlavaImageProcessor"),
        ({"crop_size": 300}, "cuts 300 out"),
        ({"size": {"shortest_edge": 256, "longest_edge": 300}}, "more than shortest_edge"),
    ],
)
def test_what_a_processor_does_and_is_not_done_here_is_named(values, words, folder):
    path = folder / "preprocessor_config.json"
    set_json(path, **values)
    said = processor_files.stated(path, channels=3)
    assert said.framing is None
    assert words in said.silent


def test_a_folder_without_a_processor_is_described_by_options(cli, folder):
    (folder / "preprocessor_config.json").unlink()
    refused(cli, folder, "there is no preprocessor_config.json", "--mean", "--std", "--resize", code=2)
    given = ("--data", "images", "--mean", "0.5", "--std", "0.5", "--resize", "squash")
    done = cli("extract", "--backbone", f"hf:{folder}", *given)
    assert done.code == 0, done.err


@pytest.mark.slow
def test_an_unlike_processor_is_scaled_by_what_it_says(folder, pictures, tmp_path):
    set_json(folder / "preprocessor_config.json", rescale_factor=1 / 127.5, image_mean=1.0, image_std=[0.5] * 3)
    compare(folder, pictures, tmp_path / "cache")


def test_a_name_of_the_hub_is_found_in_its_clients_cache(saved, pictures, tmp_path, monkeypatch, cli):
    commit = "0123456789abcdef" * 2 + "01234567"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    place = tmp_path / "hub" / "models--people--network"
    shutil.copytree(saved, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    sets = {
        featcache.extract(pictures[0], asked, cache=tmp_path / "cache").feature_set
        for asked in ("hf:people/network", f"hf:people/network@{commit}")
    }
    assert len(sets) == 1
    done = cli("extract", "--backbone", "hf:people/other")
    assert done.code == 4
    assert "featcache weights pack hf:" in done.err
