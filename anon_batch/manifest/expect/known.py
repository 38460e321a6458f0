"""What public datasets are known to have.

Sources: ILSVRC 2012: `_SPLITS_TO_SIZES` of TensorFlow's imagenet.py and the dataset card of ILSVRC/imagenet-1k for the totals,
the readme of its development kit for 732 to 1300 training images of a class. COCO 2017: the splits of its
copies on the Hugging Face hub. WIDER FACE: `WIDERFaceDataset` of MindSpore.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """Facts about one split of a dataset.

    Args:
        total: number of images.
        names: regular expression (RE2) of their file names; its group `class` is the class, its group `number` the number of the
            image.
        numbered: format of the names, if they are numbered from 1 to `total`.
        classes: number of classes; 0 where names tell none.
        per_class: fewest and most images of a class.
    """

    total: int
    names: str
    numbered: str = ""
    classes: int = 0
    per_class: tuple[int, int] = (0, 0)


_COCO = r"^\d{12}\.jpg$"
_WIDER = r"^\d+_.*\.jpg$"

DATASETS = {
    "imagenet-1k-train": KnownDataset(1_281_167, r"^(?P<class>n\d{8})_\d+\.jpg$", classes=1000, per_class=(732, 1300)),
    "imagenet-1k-val": KnownDataset(50_000, r"^ILSVRC2012_val_(?P<number>\d{8})\.jpg$", "ILSVRC2012_val_{:08d}.JPEG"),
    "imagenet-1k-test": KnownDataset(
        100_000, r"^ILSVRC2012_test_(?P<number>\d{8})\.jpg$", "ILSVRC2012_test_{:08d}.JPEG"
    ),
    "coco-2017-train": KnownDataset(118_287, _COCO),
    "coco-2017-val": KnownDataset(5_000, _COCO),
    "coco-2017-test": KnownDataset(40_670, _COCO),
    "wider-face-train": KnownDataset(12_880, _WIDER),
    "wider-face-val": KnownDataset(3_226, _WIDER),
    "wider-face-test": KnownDataset(16_097, _WIDER),
}
