"""A ``torch.nn.Module`` as a backbone: named by what it computes, and converted to the same features."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import write_images
from PIL import Image

import featcache
from featcache.backbones import network_sources

torch = pytest.importorskip("torch")
INPUT = {"mean": 0.5, "std": 0.25, "resize": "squash", "size": 32}


class Net(torch.nn.Module):
    """A convolution and one layer of a transformer."""

    def __init__(self, activation=torch.relu, channels=3, first="conv"):
        super().__init__()
        torch.manual_seed(0)
        self.first = first
        setattr(self, first, torch.nn.Conv2d(channels, 8, 4, 4))
        self.encoder = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.unused = torch.nn.Linear(2, 2)
        self.activation = activation

    def forward(self, images):
        maps = self.activation(getattr(self, self.first)(images))
        return self.encoder(maps.flatten(2).transpose(1, 2))


@pytest.fixture
def data(tmp_path):
    write_images(tmp_path / "images", 6)
    return tmp_path / "images"


def test_features_are_those_of_the_module(data, tmp_path):
    net = Net()
    net.train()
    done = featcache.extract(data, net, cache=tmp_path / "cache", **INPUT)
    assert net.training  # it is copied
    given = featcache.load(done.feature_set, pooling="map", data=data, cache=tmp_path / "cache").X
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(data.rglob("*.png"))])
    with torch.no_grad():
        images = torch.from_numpy((pixels / 255 - 0.5) / 0.25).float().permute(0, 3, 1, 2)
        wanted = net.eval()(images).numpy().reshape(given.shape)
    assert np.abs(given - wanted).max() <= 1e-5 * np.abs(wanted).max()
    again = featcache.extract(data, Net(), cache=tmp_path / "cache", **INPUT)
    assert (again.feature_set, again.computed) == (done.feature_set, 0)


def digest(net):
    return network_sources.find(net).open(32).digest


def test_it_is_named_by_what_it_computes():
    plain = digest(Net())
    assert digest(Net(first="stem")) == plain
    moved = Net()
    moved.conv.weight.data[0, 0, 0, 0] += 1e-6
    others = [digest(net) for net in (Net(torch.sigmoid), Net(torch.relu_), moved)]
    assert len({plain, *others}) == 4


def test_one_channel_and_a_layer(data, tmp_path):
    done = featcache.extract(data, Net(channels=1), layer="conv", cache=tmp_path / "cache", **INPUT)
    assert done.shape == [8, 8, 8]
    for layer, words in (("conf", "did you mean conv"), ("unused", "does not use its layer")):
        with pytest.raises(featcache.UsageError, match=words):
            featcache.extract(data, Net(), layer=layer, cache=tmp_path / "cache", **INPUT)


class Draws(torch.nn.Module):
    """Gives other features at each call."""

    def forward(self, images):
        return images + torch.rand_like(images)


class Pair(torch.nn.Module):
    """Gives two things."""

    def forward(self, images):
        return images, images


@pytest.mark.parametrize(
    ("net", "given", "error", "words"),
    [
        (Draws(), {}, featcache.WeightsError, "draws random numbers"),
        (Pair(), {}, featcache.UsageError, "expected one tensor"),
        (Net(), {"size": None}, featcache.UsageError, "give size"),
        (Net(), {"mean": None}, featcache.UsageError, "--mean"),
        (Net(), {"size": 3}, featcache.UsageError, "does not take one image of 3 x 3"),
        (Net(channels=5), {}, featcache.UsageError, "5 channels"),
        (Net(), {"weights": "random"}, featcache.UsageError, "holds its own"),
        (Net(), {"identity": "mine"}, featcache.UsageError, "known by what it computes"),
    ],
)
def test_mistakes_are_sentences(net, given, error, words, data, tmp_path):
    with pytest.raises(error, match=words):
        featcache.extract(data, net, cache=tmp_path / "cache", **(INPUT | given))
