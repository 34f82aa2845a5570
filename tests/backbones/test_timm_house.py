"""timm's networks: their features are those that timm itself gives for a file, with its own preprocessing."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from pictures import write_images
from PIL import Image
from radiographs import ten
from surroundings import ROOT

import featcache

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return folder, ten(folder)


def timm_itself(name, paths, size=None):
    """(n, …) of ``forward_features`` from files, and the tokens that stand before the patches."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0, **({"img_size": size} if size else {})).eval()
    config = timm.data.resolve_model_data_config(model)
    if size:
        config["input_size"] = (3, size, size)
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.no_grad():
        rows = [model.forward_features(transform(Image.open(path).convert("RGB"))[None]).numpy() for path in paths]
    return np.concatenate(rows), getattr(model, "num_prefix_tokens", 0) or 0


def apart(given, wanted):
    assert given.shape == wanted.shape
    return np.abs(given - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize(
    ("name", "size", "class_token"),
    [
        pytest.param("test_vit3", None, False, id="register tokens alone"),
        pytest.param("test_convnext", None, False, id="a map"),
        pytest.param("test_vit", None, True, marks=pytest.mark.slow),
        pytest.param("vit_small_patch14_reg4_dinov2", 224, True, marks=pytest.mark.slow),
        pytest.param("convnext_atto", None, False, marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", None, False, marks=pytest.mark.slow),
    ],
)
def test_features_are_those_of_timm(name, size, class_token, pictures, tmp_path):
    folder, paths = pictures
    wanted, prefix = timm_itself(name, paths, size)
    done = featcache.extract(folder, f"timm:{name}", weights="random", size=size, cache=tmp_path)
    assert f"random0.{name}" in done.feature_set
    assert done.random_weights
    given = featcache.load(f"timm:{name}", pooling="map", data=folder, cache=tmp_path).X
    if wanted.ndim == 3:
        maps = wanted[:, prefix:].reshape(given.shape)
    else:
        maps = wanted if wanted.shape == given.shape else wanted.transpose(0, 2, 3, 1)
    assert apart(given, maps) <= TOLERANCE
    average = featcache.load(done.feature_set, pooling="avg", data=folder, cache=tmp_path).X
    assert apart(average, maps.mean((1, 2))) <= TOLERANCE
    if class_token:
        token = featcache.load(done.feature_set, pooling="cls", data=folder, cache=tmp_path).X
        assert apart(token, wanted[:, 0]) <= TOLERANCE
    else:
        with pytest.raises(featcache.DataError, match="class token"):
            featcache.load(done.feature_set, pooling="cls", data=folder, cache=tmp_path)


def test_the_second_extract_loads_neither_torch_nor_tensorflow(pictures, tmp_path):
    folder, _ = pictures
    featcache.extract(folder, "timm:test_vit3", weights="random", cache=tmp_path)
    more = folder.parent / f"{folder.name}-more"
    first = ten(more)[0]
    Image.open(first).rotate(90).save(first)  # one that has no features yet
    program = (
        "import sys, featcache\n"
        f"done = featcache.extract({str(more)!r}, 'timm:test_vit3', weights='random', cache={str(tmp_path)!r})\n"
        "assert done.computed == 1, done\n"
        "print([name for name in ('torch', 'timm', 'tensorflow', 'keras') if name in sys.modules])\n"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "[]", done.stderr
    assert time.perf_counter() - started < 20  # 2 s on an idle machine; loading any of them takes more


def test_a_layer_is_a_submodule(pictures, tmp_path):
    folder, _ = pictures
    done = featcache.extract(folder, "timm:test_convnext", weights="random", layer="stages.1", cache=tmp_path)
    assert done.shape == [20, 20, 32]
    with pytest.raises(featcache.UsageError, match=r"no layer 'stage\.1'; did you mean stages\.1"):
        featcache.extract(folder, "timm:test_convnext", weights="random", layer="stage.1", cache=tmp_path)


def of_seed_3():
    """Tensors of the whole network, its classifier included."""
    torch.manual_seed(3)
    return timm.create_model("test_vit3", pretrained=False).state_dict()


@pytest.mark.slow
def test_weights_of_a_file_are_the_same_in_whatever_it_is(pictures, tmp_path):
    from safetensors.torch import save_file

    save_file(of_seed_3(), tmp_path / "mine.safetensors")
    torch.save({"state_dict": of_seed_3()}, tmp_path / "mine.pth")
    sets = {
        featcache.extract(pictures[0], "timm:test_vit3", weights=str(tmp_path / name), cache=tmp_path / "c").feature_set
        for name in ("mine.safetensors", "mine.pth")
    }
    assert len(sets) == 1
    assert "mine.test_vit3" in sets.pop()


def test_weights_of_a_file_are_loaded_whole_or_not_at_all(pictures, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "lacking.safetensors"
    save_file(dict(list(of_seed_3().items())[1:]), path)
    with pytest.raises(featcache.WeightsError, match=r"not of this network: .* 1 missing"):
        featcache.extract(pictures[0], "timm:test_vit3", weights=str(path), cache=tmp_path / "c")


class Runs:
    """What is run when it is unpickled."""

    def __reduce__(self):
        return (open, ("was run", "w"))


def test_a_file_that_would_run_something_is_refused(cli, tmp_path):
    torch.save({"weight": Runs()}, tmp_path / "hostile.pth")
    write_images(tmp_path / "images", 1)
    (tmp_path / "torn.safetensors").write_bytes(b"\xff" * 100)
    for name in ("hostile.pth", "torn.safetensors"):
        done = cli("extract", "--data", "images", "--backbone", "timm:test_vit3", "--weights", name)
        assert done.code == 4
        assert "nothing in it was run" in done.err
        assert "Traceback" not in done.err
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--backbone", "timm:test_vti3"), 2, "did you mean"),
        (("--backbone", "timm:../x"), 2, "no name of timm's"),
        (("--backbone", "timm:"), 2, "no name of timm's"),
        (("--backbone", "timm:test_vit3", "--weights", "random:x"), 4, "no such file"),
        (("--backbone", "timm:test_vit3", "--weights", "random", "--size", "7"), 2, "--size"),
        (("--backbone", "timm:test_vit3", "--weights", "random", "--runtime", "tensorflow"), 2, "openvino"),
    ],
)
def test_mistakes_are_sentences(arguments, code, words, cli, tmp_path):
    write_images(tmp_path / "images", 1)
    done = cli("extract", "--data", "images", *arguments)
    assert done.code == code
    assert words in done.err
    assert "Traceback" not in done.err


def test_without_weights_and_internet_it_says_what_to_do(cli, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    write_images(tmp_path / "images", 1)
    done = cli("extract", "--data", "images", "--backbone", "timm:test_vit3")
    assert done.code == 4
    assert "--weights FILE" in done.err
    assert "--weights random" in done.err
