"""The arguments of `kerasxai vqa`. Nothing here imports TensorFlow."""

from kerasxai.training.words.scene_config import add_scene_arguments

SUMMARY = "Train a model that answers questions about drawn scenes and see where it looks for the answer."
EXAMPLES = [
    "kerasxai vqa --out runs/vqa",
    "kerasxai vqa --out runs/vqa --method hirescam",
    "kerasxai vqa --out runs/quick --train-images 500 --epochs 2 --limit 50",
]
add_arguments = add_scene_arguments
