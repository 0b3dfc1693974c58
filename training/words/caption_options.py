"""The arguments of `kerasxai caption`. Nothing here imports TensorFlow."""

from kerasxai.training.words.scene_config import add_scene_arguments

SUMMARY = "Train a captioner on drawn scenes and see where it looks, word by word."
EXAMPLES = [
    "kerasxai caption --out runs/caption",
    "kerasxai caption --out runs/caption --method hirescam",
    "kerasxai caption --out runs/quick --train-images 500 --epochs 2 --limit 50",
]
add_arguments = add_scene_arguments
