"""A step's key changes when any code it runs changes."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from dp2bench.core import registry
from dp2bench.engine import imports, plan
from dp2bench.engine import suite as suites

ONE_STEP = """
import json, sys
from pathlib import Path
from dp2bench.engine.step import Step
from dp2bench.engine.steps import STEP_RUNNERS
told, needs, out = json.loads(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
out.mkdir(parents=True, exist_ok=True)
STEP_RUNNERS[told["kind"]](Step(**told), {k: Path(v) for k, v in needs.items()}, out, lambda done, total: None)
print(json.dumps(sorted(m for m in sys.modules if m.split(".")[0] in ("dp2bench", "outsider"))))
"""


@pytest.fixture
def outsider(tmp_path, monkeypatch):
    """A third party's package: a method that stands on a module of its own."""
    folder = tmp_path / "outside" / "outsider"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "colour.py").write_text("VALUE = 90\n")
    (folder / "method.py").write_text(
        textwrap.dedent(
            '''
            """Paints people in one colour."""
            import numpy as np

            from dp2bench.core.contracts import MethodMeta
            from dp2bench.core.types import Anonymized


            class Painted:
                meta = MethodMeta("painted", uses_masked_pixels=False)

                def anonymize(self, image, people, *, seed):
                    from . import colour

                    out, changed = image.copy(), np.ones(image.shape[:2], bool)
                    out[:] = colour.VALUE
                    return Anonymized(out, changed, ())
            '''
        )
    )
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    for name in [m for m in sys.modules if m.partition(".")[0] == "outsider"]:
        monkeypatch.delitem(sys.modules, name)
    for cached in (imports.file_of, imports.imports_of, imports.code_version):
        cached.cache_clear()
    return folder


def test_every_module_that_a_step_loads_is_in_its_key(tiny_suite, tmp_path, outsider):
    described = yaml.safe_load(tiny_suite.read_text())
    described["seeds"] = [0]
    described["methods"] = [{"name": "outsider.method:Painted", "label": "painted"}]
    described["detector"] = {"name": "deepprivacy2", "arguments": {}}
    for task in described["tasks"]:
        task.pop("seeds", None)
    tiny_suite.write_text(yaml.safe_dump(described))
    steps = plan.make_plan(suites.load(str(tiny_suite)), threads=1, device="cpu").steps
    assert {s.kind for s in steps} == {"detect", "anonymize", "train", "evaluate"}
    covered_networks = False
    for step in steps:
        told = {"kind": step.kind, "title": step.title, "key": step.key, "payload": dict(step.payload)}
        needs = {role: str(tmp_path / key) for role, key in step.needs.items()}
        command = [
            sys.executable,
            "-c",
            ONE_STEP,
            json.dumps(told),
            json.dumps(needs),
            str(tmp_path / step.key),
        ]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        loaded = set(json.loads(ended.stdout.splitlines()[-1]))
        spec = step.payload
        plugins = [
            registry.module_of(kind, spec[role]["name"])
            for kind, role in (
                ("datasets", "dataset"),
                ("detectors", "detector"),
                ("methods", "method"),
                ("tasks", "task"),
            )
            if role in spec
        ]
        covered = imports.closure((plan.RUNNER, *plugins), ("dp2bench", "outsider"))
        assert loaded <= covered, (step.title, sorted(loaded - covered))
        covered_networks |= "dp2bench.networks.frozen_backbone" in loaded
    assert covered_networks  # the detector's networks were really loaded


def test_a_changed_line_of_an_own_module_is_another_key(outsider):
    modules = ("outsider.method",)
    before = imports.code_version(modules)
    for clear in (imports.imports_of, imports.code_version):
        clear.cache_clear()
    assert imports.code_version(modules) == before
    (outsider / "colour.py").write_text("VALUE = 91\n")
    imports.code_version.cache_clear()
    assert imports.code_version(modules) != before


@pytest.mark.parametrize(
    ("kind", "name", "ran"),
    [
        ("detectors", "deepprivacy2", "dp2bench.networks.frozen_backbone"),
        ("detectors", "embedded-mask", "dp2bench.networks.efficientnet"),
        ("detectors", "with-keypoints", "dp2bench.core.boxes"),
        ("detectors", "embedded-surface", "dp2bench.datasets.passersby.rendering.template"),  # made by name
        ("methods", "blur", "dp2bench.inpainting.stitching"),
        ("methods", "deepprivacy2", "dp2bench.deepprivacy2.generators.style_unet"),
        ("tasks", "market1501-reid", "dp2bench.attacks.reid"),
        ("tasks", "coco-keypoints", "dp2bench.networks.fitting"),
    ],
)
def test_what_a_plug_in_runs_is_followed(kind, name, ran):
    assert ran in imports.closure([registry.module_of(kind, name)], ["dp2bench"])


def test_a_plug_in_that_arguments_name_is_in_the_key(outsider):
    named = {
        "detector": "embedded-mask",
        "parts": [{"use": "outsider.method:Painted"}, "C:\\\\x", "no.such:Thing"],
    }
    assert plan._modules_named_in(named) == ("outsider.method",)
    before = imports.code_version(("dp2bench.detection.ensemble", "outsider.method"))
    (outsider / "colour.py").write_text("VALUE = 91\n")
    imports.code_version.cache_clear()
    assert imports.code_version(("dp2bench.detection.ensemble", "outsider.method")) != before


def test_attacks_of_third_parties_are_in_the_key_of_their_task(outsider, monkeypatch):
    names, module_of = registry.names, registry.module_of
    monkeypatch.setattr(registry, "names", lambda kind: names(kind) + ["mine"] * (kind == "attacks"))
    monkeypatch.setattr(
        registry,
        "module_of",
        lambda kind, name: "outsider.method" if name == "mine" else module_of(kind, name),
    )
    assert "outsider.colour" in imports.closure([module_of("tasks", "privacy-attacks")], ["dp2bench"])


def test_a_baseline_does_not_depend_on_generators():
    covered = imports.closure([registry.module_of("methods", "blur"), plan.RUNNER], ["dp2bench"])
    assert not any(m.startswith(("dp2bench.deepprivacy2", "dp2bench.tasks")) for m in covered)


def test_imports_are_found_wherever_they_stand(tmp_path, monkeypatch):
    (tmp_path / "curious.py").write_text(
        "import os.path\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import dp2bench.core.types\n"
        "class A:\n    import json\n    def f(self):\n        from dp2bench.core import seeds\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    imports.file_of.cache_clear()
    found = {(i.module, i.moment) for i in imports.imports_of("curious")}
    assert ("dp2bench.core.types", "typing") in found
    assert ("dp2bench.core.seeds", "call") in found
    assert ("json", "import") in found
    assert "dp2bench.core.types" not in imports.closure(["curious"], ["curious"])


def test_files_are_those_of_the_package():
    for name in ("dp2bench.tasks.runtime", "dp2bench.baselines.blur", "dp2bench.core.types"):
        file = imports.file_of(name)
        assert isinstance(file, Path)
        assert file.stem == name.rpartition(".")[2]
    assert imports.file_of("numpy.no_such_module") is None
