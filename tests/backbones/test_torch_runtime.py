"""PyTorch as what computes: rows that are OpenVINO's, in half precision nearly so, and nothing that is not proven."""

from __future__ import annotations

import shutil
from dataclasses import replace

import networks
import numpy as np
import pytest
from pictures import write_images

import featcache
from featcache.backbones import torch_runtime, torch_setup
from featcache.extraction import request, resolution, torch_request, workers
from featcache.store.shard import Shard
from featcache.store.store import Store

torch = pytest.importorskip("torch")
INPUT = {"mean": (0.4, 0.5, 0.6), "std": 0.25, "resize": "squash", "size": 32}
GREY = {"mean": 0.5, "std": 0.25, "resize": "squash", "size": 32}
TOLERANCE = torch_runtime.TOLERANCES


class Convolutions(torch.nn.Module):
    """Maps, of three channels or of one; what follows its first normalisation works in place."""

    def __init__(self, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(channels, 16, 3, 2, 1)
        self.norm = torch.nn.BatchNorm2d(16)
        self.relu = torch.nn.ReLU(inplace=True)
        self.last = torch.nn.Conv2d(16, 24, 3, 2, 1)

    def forward(self, images):
        return self.last(self.relu(self.norm(self.conv(images))))


class Vector(Convolutions):
    """One row of numbers for an image."""

    def forward(self, images):
        return super().forward(images).mean((2, 3))


class OneAtATime(Convolutions):
    """What it gives of an image depends on the others."""

    def forward(self, images):
        return super().forward(images - images.mean(0, keepdim=True) if len(images) > 1 else images)


@pytest.fixture
def data(tmp_path):
    write_images(tmp_path / "images", 10)
    return tmp_path / "images"


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A small DINOv2 of transformers, with a class token and registers."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.Dinov2WithRegistersConfig(**small, image_size=56, patch_size=14, num_register_tokens=4)
    folder = tmp_path_factory.mktemp("networks") / "dinov2"
    transformers.Dinov2WithRegistersModel(config).eval().save_pretrained(folder)
    return f"hf:{folder}"


def extracted(data, network, cache, runtime, **options):
    """What was done, and every array of it by name."""
    done = featcache.extract(data, network, cache=cache, runtime=runtime, **options)
    with Store(cache) as store:
        names = store.spec(done.feature_set).arrays
    return done, {
        name: featcache.load(done.feature_set, pooling=name, data=data, cache=cache).X.astype(np.float64)
        for name in names
    }


def apart(given, wanted):
    assert {name: rows.shape for name, rows in given.items()} == {name: rows.shape for name, rows in wanted.items()}
    return max(np.abs(given[name] - rows).max() / np.abs(rows).max() for name, rows in wanted.items())


@pytest.mark.parametrize(
    ("network", "options"),
    [
        pytest.param("vit", {"mean": 0.5, "std": 0.25, "resize": "squash", "size": 56}, id="tokens"),
        pytest.param("vit", {**INPUT, "size": 56, "keep": "avg", "order": "bgr"}, id="averages and the token, bgr"),
        pytest.param(Convolutions(), INPUT, id="a map"),
        pytest.param(Convolutions(), {**INPUT, "layer": "norm", "dtype": "float16"}, id="a layer, kept as float16"),
        pytest.param(Convolutions(1), GREY, id="one channel"),
        pytest.param(Vector(), INPUT, id="a vector"),
    ],
)
def test_features_are_those_of_openvino(network, options, data, vit, tmp_path):
    network = vit if network == "vit" else network
    there, wanted = extracted(data, network, tmp_path / "there", "openvino", **options)
    here, given = extracted(data, network, tmp_path / "here", "torch", **options)
    assert (there.runtime, here.runtime) == ("openvino", "torch")
    assert here.feature_set == there.feature_set
    assert apart(given, wanted) <= (1e-3 if options.get("dtype") == "float16" else TOLERANCE["float32"])


def test_several_layers_come_from_one_pass(data, vit, tmp_path):
    layers, dealt = ["encoder.layer.0", ""], []
    options = {**INPUT, "size": 56, "cache": tmp_path}
    wanted = [extracted(data, vit, runtime="openvino", layer=layer, **options) for layer in layers]
    for done, _ in wanted:
        shutil.rmtree(tmp_path / "features" / done.feature_set)
    several = featcache.extract_layers(layers, data, vit, runtime="torch", on_progress=dealt.append, **options)
    assert dealt[-1] == 10
    for done, (before, rows) in zip(several, wanted, strict=True):
        assert (done.runtime, done.feature_set, done.computed) == ("torch", before.feature_set, 10)
        given = {
            name: featcache.load(done.feature_set, pooling=name, data=data, cache=tmp_path).X.astype(np.float64)
            for name in rows
        }
        assert apart(given, rows) <= TOLERANCE["float32"]


@pytest.mark.slow
def test_features_of_torchxrayvision_are_those_of_openvino(data, tmp_path):
    pytest.importorskip("torchxrayvision")
    network = "xrv:densenet121-res224-all"
    _, wanted = extracted(data, network, tmp_path / "there", "openvino", weights="random")
    _, given = extracted(data, network, tmp_path / "here", "torch", weights="random")
    assert apart(given, wanted) <= TOLERANCE["float32"]


def test_what_follows_a_layer_in_place_does_not_change_it(data, tmp_path):
    _, rows = extracted(data, Convolutions(), tmp_path, "torch", layer="norm", **INPUT)
    assert rows["map"].min() < 0  # a ReLU follows


def test_one_set_is_filled_by_both(data, vit, tmp_path):
    options = {**INPUT, "size": 56}
    _, wanted = extracted(data, vit, tmp_path / "one", "openvino", **options)
    write_images(tmp_path / "some", 4)  # the first of the same
    first = featcache.extract(tmp_path / "some", vit, cache=tmp_path / "two", runtime="openvino", **options)
    more, given = extracted(data, vit, tmp_path / "two", "torch", **options)
    assert (more.feature_set, more.computed, more.reused) == (first.feature_set, 6, 4)
    assert apart(given, wanted) <= TOLERANCE["float32"]
    with Store(tmp_path / "two") as store:
        names = store.on_disk(more.feature_set)
        made = [Shard(store.features / more.feature_set / name).runtime for name in names]
    assert {one["name"]: one["version"] for one in made}["torch"] == torch.__version__
    assert {one["device"] for one in made} == {"cpu"}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near_and_another_set(precision, data, tmp_path):
    full, wanted = extracted(data, Convolutions(), tmp_path, "torch", **INPUT)
    half, given = extracted(data, Convolutions(), tmp_path, "torch", precision=precision, **INPUT)
    assert half.feature_set != full.feature_set
    assert half.computed == 10
    assert TOLERANCE["float32"] < apart(given, wanted) <= TOLERANCE[precision]
    with Store(tmp_path) as store:
        assert store.converted(store.spec(half.feature_set)).exists()  # for bundles


def says_so():
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def takes_too_much():
    torch.empty(1 << 46)


@pytest.mark.parametrize("fail", [says_so, takes_too_much])
def test_out_of_memory_halves_the_batch(fail, data, tmp_path):
    sizes = []

    class Limited(Convolutions):
        def forward(self, images):
            sizes.append(len(images))
            if len(images) > 4:
                fail()
            return super().forward(images)

    done, given = extracted(data, Limited(), tmp_path / "here", "torch", **INPUT)
    assert done.batch_size == 4
    assert {10, 8, 4} <= {*sizes}
    _, wanted = extracted(data, Convolutions(), tmp_path / "there", "openvino", **INPUT)
    assert apart(given, wanted) <= TOLERANCE["float32"]


def test_images_that_move_each_other_are_computed_one_at_a_time(data, tmp_path):
    done, given = extracted(data, OneAtATime(), tmp_path / "here", "torch", **INPUT)
    _, wanted = extracted(data, OneAtATime(), tmp_path / "there", "openvino", **INPUT)
    assert done.batch_size == 1
    assert apart(given, wanted) <= TOLERANCE["float32"]


def test_a_device_that_computes_something_else_keeps_nothing(data, tmp_path, monkeypatch):
    real = torch_runtime._scaled
    monkeypatch.setattr(torch_runtime, "_scaled", lambda pixels, scaling: real(pixels, scaling) * 1.001)
    with pytest.raises(featcache.WeightsError, match=r"differs from openvino's by .* expected at most 1e-04"):
        featcache.extract(data, Convolutions(), cache=tmp_path / "cache", runtime="torch", **INPUT)
    with Store(tmp_path / "cache") as store:
        assert store.feature_sets() == []


class Fails(Convolutions):
    """Works while it is looked at, and on one image."""

    def forward(self, images):
        if len(images) == 1 and torch.is_inference_mode_enabled():
            raise RuntimeError("no kernel image is available")
        return super().forward(images)


class Overflows(Convolutions):
    """Goes beyond what float16 holds."""

    def forward(self, images):
        return super().forward(images * 1e6)


@pytest.mark.parametrize(
    ("network", "given", "error", "words"),
    [
        (Fails(), {}, featcache.WeightsError, "PyTorch cannot run it .no kernel image"),
        (Overflows(), {"precision": "float16"}, featcache.WeightsError, "NaN or infinite"),
        (Convolutions(), {"precision": "mixed_float16"}, featcache.UsageError, "called 'float16' now"),
        (Convolutions(), {"devices": "cpu:2"}, featcache.UsageError, "an object of this process"),
        (lambda images: images, {"identity": "mine", "mean": None, "std": None}, featcache.UsageError, "runtime"),
    ],
)
def test_refusals_are_sentences(network, given, error, words, data, tmp_path):
    asked = {**INPUT, "runtime": "torch", **given}
    with pytest.raises(error, match=words):
        featcache.extract(data, network, cache=tmp_path / "cache", **asked)


def test_a_file_is_openvinos(data, tmp_path):
    path = networks.write(tmp_path, networks.convolution())
    with pytest.raises(featcache.UsageError, match="computed by openvino"):
        featcache.extract(data, path, cache=tmp_path / "cache", runtime="torch", **networks.SCALED)


def test_without_torch_it_says_so(data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch_setup, "installed", lambda: False)
    with pytest.raises(featcache.UsageError, match="pip install torch"):
        featcache.extract(data, Convolutions(), cache=tmp_path / "cache", runtime="torch", **INPUT)


def test_where_it_has_a_gpu_it_is_taken_for_its_own_networks(data, tmp_path, monkeypatch):
    def by_itself(network, cache, **options):
        return featcache.extract(data, network, cache=tmp_path / cache, **options).runtime

    path = networks.write(tmp_path, networks.convolution())
    assert by_itself(Convolutions(), "without", **INPUT) == "openvino"
    monkeypatch.setattr(torch_setup, "gpu_likely", lambda: True)
    assert by_itself(Convolutions(), "none answers", **INPUT) == "openvino"
    monkeypatch.setattr(torch_setup, "has_gpu", lambda: True)
    assert by_itself(Convolutions(), "with", **INPUT) == "torch"
    assert by_itself(path, "with", **networks.SCALED) == "openvino"
    assert by_itself(Convolutions(), "told", runtime="openvino", **INPUT) == "openvino"


class Here:
    """Workers that are this process, without a sight of the store."""

    shared = False

    def __len__(self):
        return 1

    def threads(self):
        return None

    def run(self, portions, files):
        for portion in portions:
            yield workers.compute(portion, {place: path.read_bytes() for place, path in files.items()})


@pytest.mark.parametrize("way", ["here", pytest.param("cpu:2", marks=pytest.mark.slow)])
def test_other_processes_open_the_network_again(way, data, vit, tmp_path, monkeypatch):
    """In half precision, for which nothing that they are sent was converted."""
    write_images(data, 70)
    if way == "here":
        monkeypatch.setattr("featcache.extraction.extract.DeviceProcesses", lambda devices: Here())
    options = {**INPUT, "size": 56, "precision": "bfloat16"}
    done, given = extracted(data, vit, tmp_path / "two", "torch", devices="cpu:2", **options)
    assert (done.computed, done.runtime) == (70, "torch")
    _, wanted = extracted(data, vit, tmp_path / "one", "torch", **options)
    assert apart(given, wanted) <= TOLERANCE["bfloat16"]


def test_another_network_than_the_sets_is_refused(data, vit, tmp_path):
    with Store(tmp_path / "cache") as store:
        asked = request.ExtractionRequest(vit, runtime="torch", **{**INPUT, "size": 56})
        resolved = resolution.resolve(asked, store)
        resolved.build(1)
        other = replace(resolved.spec, weights_digest="0" * 64)
        store.converted(resolved.spec).rename(store.converted(other))
        with pytest.raises(featcache.WeightsError, match="is not the network of the feature set"):
            torch_request.again((other,), resolved.named, store, None)


def test_the_programs_own_precision_of_products_stands_again(data, tmp_path):
    seen = []

    class Looks(Convolutions):
        def forward(self, images):
            if torch.is_inference_mode_enabled():
                seen.append((torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision))
            return super().forward(images)

    torch.set_float32_matmul_precision("high")
    try:
        featcache.extract(data, Looks(), cache=tmp_path / "cache", runtime="torch", **INPUT)
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")
    assert {*seen} == {("ieee", "ieee")}
