"""Which results stand in one table, and how tables are called."""

from __future__ import annotations

from dp2bench.reports.groups import Group, told_apart


def test_equal_titles_are_told_apart_by_dataset_or_task():
    def group(dataset, task):
        return Group(dataset, task, (), ())

    quality = [group(d, "image-quality") for d in ("coco", "fdh")]
    columns = [("distance", g) for g in quality] + [("AP", group("coco", "coco-keypoints"))]
    assert told_apart(columns) == [", coco", ", fdh", ""]
    assert told_apart([("AP", group("coco", "a")), ("AP", group("coco", "b"))]) == [", a", ", b"]
    crossed = [group("coco", "a"), group("coco", "b"), group("fdh", "a")]
    assert told_apart([("AP", g) for g in crossed]) == [", coco, a", ", coco, b", ", fdh, a"]
