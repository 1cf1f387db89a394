"""A tiny Market-1501 folder and a cache of its own for every test that runs the engine."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # There are as many processes as processors. Before a library starts threads of its own:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image as Pillow

settings.register_profile("any machine", deadline=None)  # a busy machine is no failure
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DP2BENCH_CACHE", str(cache))
    monkeypatch.setenv("DP2BENCH_HISTORY", str(cache / "history.sqlite"))


@pytest.fixture(scope="session")
def rendered_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache in which each rendered dataset is made once a session, by whichever process of it is first; a test that uses one sets
    ``DP2BENCH_CACHE`` to it. The workers that make them are started once a process.
    """
    from dp2bench.datasets.passersby.generation.workers import shared_workers

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "rendered"
    folder.mkdir(exist_ok=True)
    with shared_workers():
        yield folder


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 training and 4 test identities on 2 cameras, each a colour of its own in noise; one distractor, one junk picture."""
    root = tmp_path_factory.mktemp("market")
    rng = np.random.default_rng(0)

    def put(folder: str, name: str, colour: np.ndarray) -> None:
        (root / folder).mkdir(exist_ok=True)
        noise = rng.normal(0, 12, (128, 64, 3))
        Pillow.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(
            root / folder / name, quality=95
        )

    for identity in range(1, 9):
        colour = rng.uniform(20, 235, 3)
        for camera in (1, 2):
            for frame in range(3):
                name = f"{identity:04d}_c{camera}s1_{frame:06d}_01.jpg"
                put("bounding_box_train" if identity <= 4 else "bounding_box_test", name, colour)
            if identity > 4:
                put("query", f"{identity:04d}_c{camera}s1_{9:06d}_01.jpg", colour)
    put("bounding_box_test", "0000_c1s1_000001_01.jpg", rng.uniform(0, 255, 3))
    put("bounding_box_test", "-1_c2s1_000001_01.jpg", rng.uniform(0, 255, 3))
    return root


@pytest.fixture
def tiny_suite(tmp_path: Path, market: Path) -> Path:
    """A whole suite in a few seconds."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"""schema_version: 1
name: tiny
seeds: [0, 1]
detector: full-image
datasets:
  - {{name: market1501, arguments: {{root: "{market}", official: false}}}}
methods: [identity, mask-out]
tasks:
  - {{name: market1501-reid, arguments: {{epochs: 2, batch_size: 8, height: 64, width: 32}}}}
"""
    )
    return path


@pytest.fixture(scope="session")
def random_generators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small generators with random weights by what they are for: ``body-cse``, ``body``, ``face``, ``surface-guided``, ``keypoint-guided``."""
    import torch

    from dp2bench.deepprivacy2.generators import files
    from dp2bench.deepprivacy2.generators.networks import build, catalogue

    folder = tmp_path_factory.mktemp("weights")
    body = {**catalogue()["fdh_styleganL"], "imsize": [72, 40], "cnum": 8}
    blind = {**body, "input_cse": False, "cse_nc": None}
    style = {"kind": "surface", "n_vertices": 13_380, "hidden_dim": 16, "out_dim": 16}
    guided = {
        "imsize": [72, 40],
        "cnum": 8,
        "min_fmap_resolution": 8,
        "n_middle_blocks": 1,
        "z_channels": 32,
        "style": style,
    }
    configs = {
        "body-cse": body,
        "body": blind,
        "face": {**blind, "imsize": [64, 64]},
        "surface-guided": guided,
        "keypoint-guided": {**catalogue()["triagan_fdh_im72"], "dim": 16},
    }
    paths = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for role, config in configs.items():
            paths[role] = folder / f"random-{role}.safetensors"
            templates = ["passersby-13380"] if role in {"body-cse", "surface-guided"} else []
            described = {"config": config, "templates": templates, "licence": "none", "trained_on": "nothing"}
            network = build(config)
            if role == "surface-guided":
                network.style_net.E_map.E.normal_()
                network.style_net.E_map.w_avg.normal_()
            files.save(network, paths[role], described)
    return paths


@pytest.fixture
def inception_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights in the format of FID's official file, accepted in its place."""
    import torch
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    from dp2bench.metrics import features

    with monkeypatch.context() as patched:
        # the class loads weights as soon as it is made, by default from the network
        patched.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: {})
        patched.setattr(torch.nn.Module, "load_state_dict", lambda self, *_, **__: None)
        network = theirs.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):  # the default fades from layer to layer
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr(features, "INCEPTION_SHA256", "")
    return tmp_path / "weights.pth"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a bucket in an S3 server that is started for the test."""
    pytest.importorskip("s3fs", reason='S3 needs `pip install "dp2bench[s3]"`')
    server = pytest.importorskip("moto.server", reason="an S3 server needs moto[server]")
    started = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    started.start()
    host, port = started.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"  # servers of one process share what they hold
    s3fs.S3FileSystem().mkdir(bucket)
    yield f"s3://{bucket}"
    s3fs.S3FileSystem.clear_instance_cache()
    started.stop()
