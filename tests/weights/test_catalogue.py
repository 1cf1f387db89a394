import json
from dataclasses import replace
from urllib.parse import urlparse

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dp2bench.core.errors import Dp2benchError
from dp2bench.deepprivacy2 import generator_weights
from dp2bench.deepprivacy2.generators import files, networks
from dp2bench.weights import catalogue as weights
from dp2bench.weights import digests


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_WEIGHTS", str(tmp_path / "folder"))
    return tmp_path / "folder"


def test_every_entry_says_what_a_user_must_know():
    assert {e.kind for e in weights.catalogue().values()} == {"generator", "detector", "network"}
    for name, known in weights.catalogue().items():
        assert known.name == name
        assert known.licence
        assert known.trained_on
        assert known.use
        assert known.places or known.sha256_missing  # why there is none
        for place in known.places:
            assert urlparse(place.url).scheme == "https"
            assert place.reachable
        assert known.sha256 is None or len(known.sha256) == 64
        assert known.sha256 or known.sha256_missing, "absent with the reason"
        assert known.md5 is None or len(known.md5) == 32
        if known.kind == "generator":
            assert known.network in networks.catalogue()
    assert set(generator_weights.OFFICIAL.values()) <= set(weights.catalogue())


def test_a_file_says_how_its_network_is_built(random_generators):
    for role, path in random_generators.items():
        file = generator_weights.describe(path)
        assert file.role == role
        assert file.name == f"random-{role}"
        assert file.weights().sha256 == digests.sha256(path)
        network, centres = files.load(file)
        assert centres is None
        assert network.imsize == file.crop_size
        assert not network.training


def test_saved_and_loaded_is_the_same_network(tmp_path, random_generators):
    file = generator_weights.describe(random_generators["body"])
    network, _ = files.load(file)
    centres = torch.randn(5, 512)
    again = tmp_path / "again.safetensors"
    files.save(network, again, {"config": file.config, "licence": "none"}, centres=centres)
    loaded, kept = files.load(generator_weights.describe(again))
    assert torch.equal(kept, centres)
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_the_configuration_may_stand_beside(tmp_path, random_generators):
    file = generator_weights.describe(random_generators["face"])
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(file.path), bare)
    with pytest.raises(Dp2benchError, match="does not say how its network is built"):
        generator_weights.describe(bare)
    bare.with_suffix(".json").write_text(json.dumps({"config": file.config, "face_crop": "fdf128"}))
    assert generator_weights.describe(bare).face_crop == "fdf128"
    assert files.load(generator_weights.describe(bare))[0].imsize == (64, 64)


def test_broken_files_are_refused(tmp_path, random_generators):
    whole = random_generators["body"].read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"<html>404</html>"}.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(Dp2benchError, match="cannot be read as safetensors"):
            generator_weights.describe(path)
    with pytest.raises(Dp2benchError, match="not a generator in safetensors") as error:
        generator_weights.describe(tmp_path / "fdh_styleganL.ckpt")
    assert "weights import" in error.value.remedy


def test_weights_of_another_network_or_not_finite_are_refused(tmp_path, random_generators):
    file = generator_weights.describe(random_generators["body"])
    state = load_file(file.path)
    wrong = tmp_path / "wrong.safetensors"
    told = {"generator": json.dumps({"config": {**file.config, "cnum": 16}})}
    save_file(state, wrong, told)
    with pytest.raises(Dp2benchError, match="another network"):
        files.load(generator_weights.describe(wrong))
    state["to_rgb.bias"] = state["to_rgb.bias"] * np.nan
    save_file(state, wrong, {"generator": json.dumps({"config": file.config})})
    with pytest.raises(Dp2benchError, match="not finite"):
        files.load(generator_weights.describe(wrong))


def test_resolution_order(tmp_path, own_folder, monkeypatch, random_generators):
    path = random_generators["body"]
    assert generator_weights.resolve(path, "body") == path
    monkeypatch.setattr(generator_weights, "embedded", dict)
    with pytest.raises(Dp2benchError, match="embeds no weights for 'body'") as error:
        generator_weights.resolve(None, "body")
    assert "dp2bench weights fetch fdh_styleganL_nocse" in error.value.remedy
    assert "dp2bench weights import FILE --as fdh_styleganL_nocse" in error.value.remedy
    for asked in ("official", "fdh_styleganL_nocse"):
        with pytest.raises(Dp2benchError, match="not on this machine") as error:
            generator_weights.resolve(asked, "body")
        assert "dp2bench weights fetch fdh_styleganL_nocse" in error.value.remedy
    for gone in (tmp_path / "gone.safetensors", "cse_R_50_FPN_s1x"):  # the other is a detector's
        with pytest.raises(Dp2benchError, match="no file"):
            generator_weights.resolve(gone, "body")
    own_folder.mkdir()
    (own_folder / "fdh_styleganL_nocse.safetensors").write_bytes(path.read_bytes())
    assert generator_weights.resolve("official", "body").parent == own_folder
    mine = {"mini-body": path}
    monkeypatch.setattr(generator_weights, "embedded", lambda: mine)
    assert generator_weights.resolve(None, "body") == path
    assert generator_weights.resolve("mini-body", "face") == path


def test_what_the_package_embeds_is_readable():
    for name, path in generator_weights.embedded().items():
        file = generator_weights.describe(path)
        assert name in generator_weights.EMBEDDED.values()
        assert file.licence != "unknown"


def test_official_checkpoints_become_safetensors(tmp_path, own_folder, monkeypatch, random_generators):
    """In the layouts of the released files, at the size of the small network."""
    file = generator_weights.describe(random_generators["body-cse"])
    network, _ = files.load(file)
    known = replace(weights.entry("fdh_styleganL"), md5=None)
    monkeypatch.setattr(networks, "build", lambda name, b=networks.build: b(file.config))
    state, centres = network.state_dict(), torch.randn(7, 512)
    for i, content in enumerate(
        (
            {
                "EMA_generator": state,
                "w_centers": centres,
                "discriminator": {"x": torch.zeros(1)},
                "global_step": 3,
            },
            {"running_average_generator": {**state, "style_net.w_centers": centres}},
            {**state, "style_net.w_centers": centres},
        )
    ):
        source = tmp_path / f"{i}.ckpt"
        torch.save(content, source)
        target = tmp_path / f"{i}.safetensors"
        files.convert(source, known, target)
        told = generator_weights.describe(target)
        assert told.templates == ("smpl-27554",)
        assert "FDH" in told.trained_on
        got = load_file(target)
        assert torch.equal(got[files.CENTRES], centres)
        assert all(torch.equal(got[k], v) for k, v in state.items())
        assert digests.verify(target, known).startswith("matches its record")
        target.write_bytes(target.read_bytes()[:-1] + b"\x01")
        with pytest.raises(Dp2benchError, match="has changed"):
            digests.verify(target, known)


class Sneaky:
    def __reduce__(self):
        return (print, ("this ran",))


def test_anything_but_arrays_is_refused(tmp_path, capsys):
    known = replace(weights.entry("fdf256_stylegan"), md5=None)
    source = tmp_path / "sneaky.ckpt"
    torch.save({"EMA_generator": {}, "train_state": Sneaky()}, source)
    with pytest.raises(Dp2benchError, match=r"is refused.*GLOBAL .*print was not an allowed") as refused:
        files.convert(source, known, tmp_path / "out.safetensors")
    assert "add_safe_globals" not in str(refused.value), "not how to read it all the same"
    source.write_bytes(b"not a checkpoint")
    with pytest.raises(Dp2benchError, match="is refused"):
        files.convert(source, known, tmp_path / "out.safetensors")
    torch.save([1, 2], source)
    with pytest.raises(Dp2benchError, match="no state dict"):
        files.convert(source, known, tmp_path / "out.safetensors")
    assert "this ran" not in capsys.readouterr().out
    assert not (tmp_path / "out.safetensors").exists()


def test_a_tampered_official_file_is_refused_by_its_digest(tmp_path):
    known = weights.entry("fdf256_stylegan")
    source = tmp_path / "tampered.ckpt"
    torch.save({"EMA_generator": {"x": torch.zeros(1)}}, source)
    with pytest.raises(Dp2benchError, match="its MD5 is"):
        files.convert(source, known, tmp_path / "out.safetensors")
