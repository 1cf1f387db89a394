from dp2bench.core import registry
from dp2bench.core.contracts import DatasetMeta, TaskMeta
from dp2bench.core.declared import declared

KINDS = ("tasks", "datasets", "detectors", "attacks", "templates")


def test_the_source_says_what_the_imported_plug_in_says():
    for kind in KINDS:
        for name in registry.names(kind):
            made = registry.load(kind, name)
            meta = getattr(made, "meta", None)
            text = meta.description if isinstance(meta, (TaskMeta, DatasetMeta)) else ""
            assert registry.declared_by(kind, name) is not None
            assert registry.describe(kind, name) == (text or made.__doc__ or "").strip().splitlines()[0]
    for name in registry.names("datasets"):
        known = registry.dataset_class(name)
        assert (registry.needs_root(name), registry.layout(name)) == (known.needs_root, known.layout)
    for name in registry.names("tasks"):
        assert registry.layouts(name) == registry.load("tasks", name).meta.layouts


def test_bases_computed_values_and_what_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "plug_in_base.py").write_text(
        "class Base:\n    layout = 'coco'\n    needs_root: bool = True\n"
    )
    (tmp_path / "plug_in_of_mine.py").write_text(
        "raise RuntimeError('must not run')\nfrom plug_in_base import Base as B\n"
        "class Mine(B):\n    '''Of mine.'''\n    needs_root = False\n    size = 3 * 4\n"
        "    meta = Meta(description='one ' 'line', layouts=('coco',), version=str(1))\n"
        "def make():\n    '''Made.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = declared("plug_in_of_mine", "Mine")
    assert mine.docstring == "Of mine."
    assert mine.attributes == {"layout": "coco", "needs_root": False}
    assert mine.meta == {"description": "one line", "layouts": ("coco",)}
    assert declared("plug_in_of_mine", "make").docstring == "Made."
    assert declared("plug_in_of_mine", "other") is None
    assert declared("no_such_module_of_mine", "x") is None
