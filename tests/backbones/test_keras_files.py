"""``.keras`` files of someone else: whatever is not Keras' own is refused in one sentence, and nothing is loaded."""

from __future__ import annotations

import io
import json
import zipfile

import h5py
import numpy as np
import pytest
from pictures import write_images

import featcache
from featcache.errors import WeightsError

keras = pytest.importorskip("keras")

UNIT = {"mean": 0, "std": 1, "resize": "squash"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The members of a whole file, and images to extract."""
    folder = tmp_path_factory.mktemp("saved")
    write_images(folder / "images", 2, size=16)
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Conv2D(3, 3, activation=keras.activations.silu, name="first"),
        keras.layers.ReLU(name="last"),
    ]
    model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
    model.save(folder / "whole.keras")
    with zipfile.ZipFile(folder / "whole.keras") as archive:
        return folder / "images", {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def refused(saved, tmp_path, monkeypatch):
    """Write members as a file, extract with it, and give the message; Keras must never have been asked to load it."""
    images, _ = saved
    loaded = []
    monkeypatch.setattr(keras.saving, "load_model", lambda *args, **kwargs: loaded.append(args))

    def refuse(members, compression=zipfile.ZIP_STORED):
        path = tmp_path / "hostile.keras"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return refuse_file(path)

    def refuse_file(path):
        with pytest.raises(WeightsError) as caught:
            featcache.extract(images, path, cache=tmp_path / "cache", **UNIT)
        assert not loaded
        message = str(caught.value)
        assert "hostile.keras" in message
        assert message.isprintable()
        return message

    refuse.file = refuse_file
    return refuse


def with_config(saved, change):
    members = dict(saved[1])
    config = json.loads(members["config.json"])
    change(config)
    return list({**members, "config.json": json.dumps(config)}.items())


def layer(config, name):
    return next(one for one in config["config"]["layers"] if one["config"].get("name") == name)


def test_a_whole_file_is_taken(saved, tmp_path):
    images, members = saved
    path = tmp_path / "whole.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert featcache.extract(images, path, cache=tmp_path / "cache", **UNIT).shape == [14, 14, 3]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"class_name": "Lambda", "module": "keras.layers"}, "Lambda: it runs code"),
        ({"class_name": "TFSMLayer", "module": "keras.layers"}, "TFSMLayer: it loads another file"),
        ({"class_name": "TorchModuleWrapper", "module": "keras.layers"}, "loads a pickle"),
        ({"class_name": "Popen", "module": "subprocess"}, "'Popen' of 'subprocess', no layer of Keras' own"),
        ({"class_name": "ReLU", "module": "keras.layers", "registered_name": "mine>ReLU"}, "no layer of Keras' own"),
        ({"class_name": "get_file", "module": "keras.utils"}, "no layer of Keras' own"),
        ({"class_name": "Progbar", "module": "keras.utils"}, "no layer of Keras' own"),
        ({"class_name": "load_model", "module": "keras.saving"}, "no layer of Keras' own"),
        ({"class_name": "DiskIOStore", "module": "keras.src.saving.saving_lib"}, "no layer of Keras' own"),
        ({"class_name": "os", "module": "keras.src.utils.file_utils"}, "no layer of Keras' own"),
        ({"class_name": "ReLU", "module": None}, "of no module"),
        ({"class_name": ["ReLU"], "module": "keras.layers"}, "of no module"),
        ({"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}, "runs code out of the file"),
        ({"class_name": "__typespec__", "module": "tensorflow"}, "no layer of Keras' own"),
        ({"class_name": "function", "module": "builtins", "config": "eval"}, "calls 'eval' of 'builtins'"),
        ({"class_name": "function", "module": "os", "config": "system"}, "calls 'system' of 'os'"),
        ({"class_name": "Own\x1b[2J\n", "module": "mine"}, r"Own\x1b[2J\n"),
    ],
)
def test_classes_and_functions_outside_keras(saved, refused, changed, said):
    message = refused(with_config(saved, lambda config: layer(config, "last").update(changed)))
    assert said in message
    assert "layer last" in message or "config" in changed
    assert "nothing was loaded" in message


def test_they_are_found_wherever_they_stand(saved, refused):
    hidden = {"class_name": "Lambda", "module": "keras.layers", "config": {}, "registered_name": None}
    for place in ("kernel_initializer", "activation", "anything"):
        said = refused(
            with_config(saved, lambda config, place=place: layer(config, "first")["config"].update({place: [hidden]}))
        )
        assert "layer first is a Lambda" in said
    assert "Lambda" in refused(with_config(saved, lambda config: config.update(build_config={"deep": [{"x": hidden}]})))


def test_how_a_model_was_trained_is_left_out(saved, tmp_path):
    """A loss of one's own is common, is of no use here, and is not looked at."""
    own = {"loss": {"class_name": "function", "module": "mine", "config": "my_loss", "registered_name": "my_loss"}}
    path = tmp_path / "compiled.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in with_config(saved, lambda config: config.update(compile_config=own)):
            archive.writestr(name, content)
    assert featcache.extract(saved[0], path, cache=tmp_path / "cache", **UNIT).shape == [14, 14, 3]


def test_members_of_the_zip(saved, refused):
    members = list(saved[1].items())
    for name in ("../outside", "/etc/passwd", "assets/vocabulary.txt", "config.json.npz"):
        assert "expected just metadata.json, config.json, model.weights.h5" in refused([*members, (name, b"{}")])
    assert "holds nothing" in refused([])
    assert "expected JSON" in refused([(n, b"\xff{" if n == "config.json" else c) for n, c in members])
    assert "holds no model" in refused([(n, b"[]" if n == "config.json" else c) for n, c in members])
    deep = b"[" * 5000 + b"]" * 5000
    assert "deeper" in refused([(n, deep if n == "config.json" else c) for n, c in members])


def test_bombs_are_not_unfolded(saved, refused):
    zeros = bytes(30 << 20)
    for bomb in ("config.json", "model.weights.h5"):
        members = [(name, zeros if name == bomb else content) for name, content in saved[1].items()]
        assert f"{bomb} would unfold" in refused(members, zipfile.ZIP_DEFLATED)


def test_damage(refused, tmp_path):
    path = tmp_path / "hostile.keras"
    for content in (b"", b"no zip at all", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        assert "not a .keras file, or damaged" in refused.file(path)


def test_a_byte_changed_anywhere_is_no_traceback(saved, tmp_path):
    path = tmp_path / "hostile.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in saved[1].items():
            archive.writestr(name, content)
    whole = path.read_bytes()
    refusals = 0
    for place in range(10, len(whole), len(whole) // 24):
        broken = bytearray(whole)
        broken[place] ^= 0x55
        path.write_bytes(broken)
        try:
            featcache.extract(saved[0], path, cache=tmp_path / "cache", **UNIT)
        except WeightsError:
            refusals += 1
    assert refusals > 12  # the rest says when it was made, and the like


@pytest.mark.parametrize("kind", ["external", "soft", "elsewhere", "objects", "claims", "none"])
def test_weights_that_are_elsewhere_or_none(saved, refused, kind, tmp_path):
    def weights():
        held = io.BytesIO()
        with h5py.File(held, "w") as file:
            group = file.create_group("layers/conv2d/vars")
            if kind == "external":
                group["0"] = h5py.ExternalLink("/etc/passwd", "x")
            elif kind == "soft":
                group["0"] = h5py.SoftLink("/layers")
            elif kind == "elsewhere":
                group.create_dataset("0", (8,), "u1", external=[("/etc/passwd", 0, 8)])
            elif kind == "objects":
                group.create_dataset("0", (1,), h5py.string_dtype())
            else:
                group.create_dataset("0", (1 << 20, 1 << 20), "f4", chunks=(1 << 10, 1 << 10))
        return held.getvalue() if kind != "none" else b"no HDF5"

    members = [(name, weights() if name.endswith("h5") else content) for name, content in saved[1].items()]
    said = {"external": "link", "soft": "link", "elsewhere": "another file", "objects": "no array", "claims": "claim"}
    assert said.get(kind, "no HDF5 file") in refused(members)


def test_weights_that_do_not_fit_are_an_error_in_a_sentence(saved, tmp_path):
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file.create_dataset("layers/conv2d/vars/0", data=np.zeros((3, 3, 3, 2), np.float32))
    path = tmp_path / "torn.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in saved[1].items():
            archive.writestr(name, held.getvalue() if name.endswith("h5") else content)
    with pytest.raises(WeightsError, match=r"torn.keras: Keras does not load it .*Expected what Keras' model.save"):
        featcache.extract(saved[0], path, cache=tmp_path / "cache", **UNIT)


def test_the_command_line_says_it_in_a_line(saved, tmp_path, cli):
    (tmp_path / "hostile.keras").write_bytes(b"no zip at all")
    asked = ("--mean", 0, "--std", 1, "--resize", "squash")
    done = cli("extract", "--data", saved[0], "--backbone", "hostile.keras", *asked)
    assert done.code == 4
    assert "not a .keras file" in done.err
    assert "Traceback" not in done.err
    gone = cli("extract", "--data", saved[0], "--backbone", "gone.keras")
    assert gone.code == 4
    assert ".keras" in gone.err
