"""DukeMTMC-reID, and every dataset of re-identification in the same three folders (Ristani et al., ECCVW 2016; Zheng et al., ICCV 2017)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from dp2bench.core.contracts import DatasetMeta
from dp2bench.core.errors import DatasetError
from dp2bench.datasets.reid import FOLDERS, BoundingBoxFolders, below

_OFFICIAL = "DukeMTMC-reID"
_NAME = re.compile(r"(-1|\d+)_c(\d+)(?:\D.*)?\.(?:jpg|png)")


class DukeMTMCReID(BoundingBoxFolders):
    """DukeMTMC-reID in its official layout, or another dataset in that layout.

    Names begin with identity and camera, ``0001_c2_f0046182.jpg``; what follows is free. JPEG and PNG are read. So CUHK03-NP,
    Occluded-DukeMTMC and one's own are read as well, with ``official: false``. Labels of a sample: ``identity`` (-1 junk, 0
    distractor), ``camera``.

    Args:
        root: the folder that holds ``bounding_box_train``, ``query`` and ``bounding_box_test``, or one that holds
            ``DukeMTMC-reID`` or (torchreid's layout) ``dukemtmc-reid/DukeMTMC-reID``.
        official: whether `verify` compares the number of pictures and identities with DukeMTMC-reID's.

    """

    layout: ClassVar[str] = "dukemtmc-reid"
    get_it = (
        "Its authors took DukeMTMC-reID back in 2019: use it where your institution allows it. Give the folder that holds "
        "bounding_box_train, query and bounding_box_test; for another dataset in this layout say `official: false`."
    )
    expected_counts: ClassVar[Mapping[str, tuple[int, int]] | None] = {
        "train": (16_522, 702),
        "query": (2_228, 702),
        "gallery": (17_661, 1_110),
    }

    def __init__(self, root: Path, *, official: bool = True) -> None:
        meta = DatasetMeta(
            name="dukemtmc-reid",
            version="1",
            licence="withdrawn by its authors; each other dataset in this layout its own",
            splits=tuple(FOLDERS),
            homepage="https://github.com/layumi/DukeMTMC-reID_evaluation",
            description="36,411 boxes of 1,812 people seen by eight cameras; or others in the same folders",
        )
        places = (_OFFICIAL, f"dukemtmc-reid/{_OFFICIAL}", "dukemtmc-reid")
        super().__init__(meta, below(root, *places, holds=tuple(FOLDERS.values())), official=official)

    def labels(self, path: Path) -> Mapping[str, int]:
        """See `BoundingBoxFolders.labels`."""
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise DatasetError(
                f"The name of {path} does not begin with identity and camera, as 0001_c2_f0046182.jpg.",
                "Rename the file or remove it from the dataset.",
            )
        return {"identity": int(match[1]), "camera": int(match[2])}

    def open(self, root: Path) -> DukeMTMCReID:
        """The dataset at another root, of any number of pictures."""
        opened = DukeMTMCReID(root, official=False)
        opened.meta = self.meta
        return opened
