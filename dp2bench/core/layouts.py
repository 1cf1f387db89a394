"""The on-disk formats that tasks name together; `Dataset.layout` of the datasets."""

REID = ("market1501", "msmt17", "dukemtmc-reid", "cuhk03")
"""People seen by several cameras, a person a picture."""
CROPS = ("fdh", "fdf256", "fdf128")
"""Crops of people or faces that generators learn from."""
SCENES = ("coco", "coco-json", "cityscapes")
"""Whole pictures with any number of people."""
ONE_PERSON = frozenset({*REID, *CROPS})
"""Every picture is of one person and hardly larger."""
PICTURES = (*REID, *SCENES, *CROPS, "folder")
"""Everything but videos."""
