"""torchxrayvision's networks: one channel of -1024 to 1024, and the map before they pool."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import write_images
from PIL import Image
from radiographs import ten

import featcache

xrv = pytest.importorskip("torchxrayvision")
torch = pytest.importorskip("torch")
NAME = "xrv:densenet121-res224-all"


@pytest.mark.slow
def test_features_are_those_of_torchxrayvision(tmp_path):
    paths = ten(tmp_path / "images")
    for path in paths:  # of the network's size: its resizing has another antialiasing
        Image.open(path).resize((224, 224)).save(path)
    torch.manual_seed(0)
    model = xrv.models.DenseNet(weights=None).eval()
    crop, resize = xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(224)
    pixels = [resize(crop(xrv.utils.normalize(np.asarray(Image.open(path)), 255)[None])) for path in paths]
    with torch.no_grad():
        wanted = np.concatenate([model.features(torch.from_numpy(one)[None]).numpy() for one in pixels])
    done = featcache.extract(tmp_path / "images", NAME, weights="random", cache=tmp_path / "cache")
    given = featcache.load(NAME, pooling="map", data=tmp_path / "images", cache=tmp_path / "cache").X
    wanted = wanted.transpose(0, 2, 3, 1)
    assert given.shape == wanted.shape
    assert np.abs(given - wanted).max() <= 1e-3 * np.abs(wanted).max()
    torch.save(model.state_dict(), tmp_path / "mine.pt")
    mine = featcache.extract(tmp_path / "images", NAME, weights=str(tmp_path / "mine.pt"), cache=tmp_path / "cache")
    assert (mine.feature_set, mine.computed) == (done.feature_set, 0)  # the same network


def test_pickled_networks_of_its_own_are_read_by_their_classes_alone(tmp_path):
    from featcache.backbones import torch_weights, xrv_house

    class Other(torch.nn.Module):
        pass

    torch.save(xrv.models.DenseNet(weights=None), tmp_path / "own.pt")
    assert len(torch_weights.tensors(tmp_path / "own.pt", xrv_house._classes())) == 727
    Other.__module__, Other.__qualname__ = __name__, "Other"
    globals()["Other"] = Other
    torch.save(Other(), tmp_path / "other.pt")
    with pytest.raises(featcache.WeightsError, match="nothing in it was run"):
        torch_weights.tensors(tmp_path / "other.pt", xrv_house._classes())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("xrv:densenet121-res224-al",), "it has densenet121-res224-all"),
        (("xrv:vgg16",), "no network that is read here"),
        ((NAME, "--size", "225", "--weights", "random"), "images of 224 pixels"),
    ],
)
def test_mistakes_are_sentences(arguments, words, cli, tmp_path):
    write_images(tmp_path / "images", 1)
    done = cli("extract", "--data", "images", "--backbone", *arguments)
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err
