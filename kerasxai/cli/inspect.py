"""`kerasxai inspect`: what a model has learned, as one page with pictures."""

import argparse
from pathlib import Path

from kerasxai.tools.arguments import add_model, number, positive_int, section
from kerasxai.tools.image_options import add_image_options

SUMMARY = "Show what a model has learned: filters, units, patches, class pictures, neighbors."
EXAMPLES = [
    "kerasxai inspect imagenet:EfficientNetLite0 --show filters,classes --target zebra,daisy",
    "kerasxai inspect runs/gap/model.keras --layer backbone/top_activation --data shapes",
    "kerasxai inspect runs/gap/model.keras --data photos/ --show neighbors --query cat.jpg dog.jpg",
]

PARTS = ("filters", "activations", "patches", "dissection", "classes", "neighbors", "projection")
WITHOUT_DATA = ("filters", "classes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model, the layer, the data, and what is shown."""
    add_model(parser)
    section(parser, "method").add_argument("--layer", help="see `kerasxai layers` (default: the last feature map)")
    section(parser, "data").add_argument(
        "--data", metavar="NAME|FOLDER", help="a data set of `kerasxai datasets`, or a folder of images"
    )
    section(parser, "data").add_argument("--split", default="test", help="of the data (default: %(default)s)")
    section(parser, "data").add_argument("--data-dir", help="where TFDS keeps its data")
    section(parser, "data").add_argument(
        "--count", type=positive_int, default=1000, help="images at the most (default: %(default)s)"
    )
    section(parser, "output").add_argument(
        "--show",
        metavar="PART[,PART]",
        help=f"of {', '.join(PARTS)} (default: all for which there are data, masks, a target)",
    )
    section(parser, "shown").add_argument(
        "--channels", metavar="N[,N]", help="of the layer (default: the 8 with the strongest patches)"
    )
    section(parser, "shown").add_argument(
        "--patches", type=positive_int, default=9, help="patches a channel (default: %(default)s)"
    )
    section(parser, "shown").add_argument(
        "--quantile", type=number(least=0, below=1), default=0.995, help="where a unit is active (default: %(default)s)"
    )
    section(parser, "shown").add_argument(
        "--parts", metavar="NAME[,NAME]", help="names of the parts that the data's part masks number"
    )
    section(parser, "method").add_argument(
        "--target", metavar="CLASS[,CLASS]", help="classes to make pictures of, by index or name"
    )
    section(parser, "shown").add_argument(
        "--steps", type=positive_int, default=256, help="of a class picture (default: %(default)s)"
    )
    section(parser, "shown").add_argument(
        "--seeds", type=positive_int, default=1, help="pictures of each class (default: %(default)s)"
    )
    section(parser, "data").add_argument(
        "--query", metavar="IMAGE", nargs="+", default=[], help="image files to find neighbors of"
    )
    section(parser, "data").add_argument(
        "--index", type=Path, help="a saved index.npz to find neighbors in, instead of --data"
    )
    section(parser, "shown").add_argument(
        "--projection", default="tsne", choices=("pca", "tsne", "umap"), help="onto the plane (default: %(default)s)"
    )
    add_image_options(parser, bits=True)
    section(parser, "method").add_argument(
        "--batch-size", type=positive_int, default=32, help="images at once (default: %(default)s)"
    )
    section(parser, "output").add_argument(
        "--out", type=Path, default=Path("inspection"), help="folder (default: %(default)s)"
    )
