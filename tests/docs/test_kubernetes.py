"""The manifest for KubeRay says what `dp2bench run` takes, and one version of Ray."""

import inspect
import shlex
from pathlib import Path

import yaml

from dp2bench.cli.run import run

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "kubernetes"


def test_the_manifest_runs_what_there_is():
    job = yaml.safe_load((FOLDER / "dp2bench-rayjob.yaml").read_text("utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    shell = shlex.split(job["spec"]["entrypoint"])
    assert shell[:2] == ["sh", "-c"]
    command = shlex.split(shell[2].partition("&&")[0])
    assert command[:3] == ["dp2bench", "run", "nightly"]
    options = {word.removeprefix("--").replace("-", "_") for word in command if word.startswith("--")}
    assert options == {"executor", "store", "out"}
    assert options <= set(inspect.signature(run).parameters)
    version = job["spec"]["rayClusterSpec"]["rayVersion"].rpartition(".")[0]
    assert f"ray[default]=={version}.*" in (FOLDER / "Dockerfile").read_text("utf-8")
    head, workers = (job["spec"]["rayClusterSpec"][name] for name in ("headGroupSpec", "workerGroupSpecs"))
    images = {
        container["image"]
        for group in (head, *workers)
        for container in group["template"]["spec"]["containers"]
    }
    assert len(images) == 1
