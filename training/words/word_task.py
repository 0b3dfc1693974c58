"""One training and one measurement for captioning and question answering."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras

from kerasxai.engine.scores import Score
from kerasxai.explainer import Explainer
from kerasxai.tools.folders import locked
from kerasxai.training.words.reader_training import Batch, ReaderParts, Verbosity, train_reader
from kerasxai.training.words.scene_config import SceneConfig, WordMeasurement
from kerasxai.training.words.word_metrics import ExplainedBatch, explainer_of, measure


@dataclass(frozen=True)
class WordTask:
    """A task on drawn scenes.

    Attributes:
        name: The task in `SceneConfig`.
        groups: The key of the figures by group in the result.
        parts: The parts of the model.
        score: The score to explain.
        explain_batch: Explains a batch with a model and its explainer.
    """

    name: Literal["caption", "vqa"]
    groups: str
    parts: ReaderParts
    score: Score
    explain_batch: Callable[[keras.Model, Explainer, Batch], ExplainedBatch]

    def train(self, config: SceneConfig, out: str | Path, verbose: Verbosity = "auto") -> keras.Model:
        """Train a model; a finished run is loaded, a stopped one continues, see `train_reader`."""
        return train_reader(self.parts, config, out, verbose)

    def train_and_measure(
        self,
        config: SceneConfig,
        out: str | Path,
        method: str = "gradcam",
        *,
        limit: int | None = None,
        gallery: int = 6,
        verbose: Verbosity = "auto",
    ) -> dict[str, Any]:
        """Train a model, and measure where the heatmaps of its words have their maximum.

        Masks are read only for measuring.

        Args:
            config: Settings of the training.
            out: Folder of the run; a finished run is only measured. Next to `config.json`, `command.txt`,
                `history.csv`, `metrics.json` and `model.keras`, `evaluation_METHOD.json` and `gallery_METHOD.png` are
                written.
            method: A name in `kerasxai.METHODS` that explains any score.
            limit: Number of measured test images; None: all.
            gallery: Number of drawn test images.
            verbose: As for `keras.Model.fit`.

        Returns:
            The content of `evaluation_METHOD.json`.

        Raises:
            KerasxaiError: An option is wrong, or the folder contains another run.
        """
        # One lock for both steps, so that no other run replaces the model between them.
        with locked(out):
            model = self.train(config, out, verbose)
            explainer = explainer_of(model, method, self.score)
            return measure(
                config,
                out,
                lambda batch: self.explain_batch(model, explainer, batch),
                self.groups,
                WordMeasurement(method, limit, gallery),
            )
