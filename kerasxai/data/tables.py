"""DATASETS, what is known about data sets beyond their feature types. Reading the table imports nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DatasetRow:
    """What is known about a data set beyond its feature types.

    Attributes:
        summary: One line for tables.
        builder: "package.module:Class" of a builder of kerasxai; None for one of TFDS.
        splits: From names of splits to TFDS split expressions, for splits that the data set does not have itself.
        label: Path of the class label, where there are several.
        boxes: Path of the boxes; "" to make them from the mask, for data sets whose boxes are of something else.
        mask: "package.module:function" that converts the stored mask to 1 object, 0 background, 255 ignore.
        parts: Path of a mask whose values number the parts of the object.
        feature_stride: The stride of the feature map that suits the size of the objects, at 224 pixels.
        image_size: The side at which the images are meant to be used; None for any.
        citation: The publication.
        augment: The augmentation of training images that suits it, a name in `kerasxai.data.AUGMENTATIONS`; None for
            any.
    """

    summary: str
    builder: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    boxes: str | None = None
    mask: str | None = None
    parts: str | None = None
    feature_stride: int = 32
    image_size: int | None = None
    citation: str = ""
    augment: str | None = None


_VALIDATION_FROM_TRAIN = {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
# The test splits of COCO have no annotations.
_COCO = {"train": "train[:95%]", "validation": "train[95%:]", "test": "validation"}

DATASETS: dict[str, DatasetRow] = {
    "shapes": DatasetRow(
        summary="8 classes of drawn objects on photographs, exact boxes and part masks; made here, no download",
        builder="kerasxai.data.shapes.builder:Shapes",
        mask="kerasxai.data.masks:nonzero",
        parts="part_mask",
        feature_stride=8,
        image_size=160,
        augment="flip",
    ),
    "shapes_two": DatasetRow(
        summary="two drawn objects an image with a caption, questions and answers, exact masks; made here, no download",
        builder="kerasxai.data.shapes.pairs_builder:ShapesTwo",
        mask="kerasxai.data.masks:nonzero",
        feature_stride=8,
        image_size=160,
        augment="flip",
    ),
    "caltech_birds2011": DatasetRow(
        summary="CUB-200-2011: 200 bird species, one box and one mask an image (1.1 GB)",
        splits=_VALIDATION_FROM_TRAIN,
        mask="kerasxai.data.masks:bright",
        citation="Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001, 2011",
    ),
    "oxford_iiit_pet": DatasetRow(
        summary="37 breeds of cats and dogs, trimaps; boxes are those of the whole pet, made from the mask (0.8 GB)",
        splits=_VALIDATION_FROM_TRAIN,
        label="label",
        boxes="",
        mask="kerasxai.data.masks:trimap",
        citation="Parkhi et al., Cats and Dogs, CVPR 2012",
    ),
    "stanford_dogs": DatasetRow(
        summary="120 breeds of dogs, one box for each dog (0.8 GB)",
        splits=_VALIDATION_FROM_TRAIN,
        citation="Khosla et al., Novel Dataset for Fine-Grained Image Categorization, CVPR workshop 2011",
    ),
    "cars196": DatasetRow(
        summary="196 models of cars, one box an image (1.9 GB)",
        splits=_VALIDATION_FROM_TRAIN,
        citation="Krause et al., 3D Object Representations for Fine-Grained Categorization, ICCV workshop 2013",
    ),
    "imagenet_v2": DatasetRow(
        summary="10,000 new test images for the 1000 classes of ImageNet; no boxes, no training split (1.2 GB)",
        citation="Recht et al., Do ImageNet Classifiers Generalize to ImageNet?, ICML 2019",
    ),
    "imagenet2012": DatasetRow(
        summary="ImageNet, 1000 classes; files by hand, boxes from a file: --boxes localization.txt (150 GB)",
        # Its own test split has no labels; what the literature tests on is the validation split.
        splits={"train": "train[:99%]", "validation": "train[99%:]", "test": "validation"},
        citation="Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015",
    ),
    "voc/2007": DatasetRow(
        summary="20 classes, several labels an image, or the class of the largest object; boxes (0.9 GB)",
        citation="Everingham et al., The PASCAL Visual Object Classes Challenge 2007",
    ),
    "voc/2012": DatasetRow(
        summary="20 classes, several labels an image, boxes; the validation images are halved to test (3.6 GB)",
        # Its own test split has no annotations.
        splits={"train": "train", "validation": "validation[:50%]", "test": "validation[50%:]"},
        citation="Everingham et al., The PASCAL Visual Object Classes Challenge 2012",
    ),
    "coco/2014": DatasetRow(
        summary="80 classes, several labels an image, or the class of the largest object; boxes (38 GB)",
        splits=_COCO,
        citation="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    ),
    "coco/2017": DatasetRow(
        summary="80 classes, several labels an image, or the class of the largest object; boxes (25 GB)",
        splits=_COCO,
        citation="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    ),
}
