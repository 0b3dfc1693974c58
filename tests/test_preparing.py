"""Several processes that prepare one data set at the same time."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerasxai.data.preparing import prepare, quiet


class Squares(tfds.core.GeneratorBasedBuilder):
    """Three numbers, made after `interrupt` has been called."""

    VERSION = tfds.core.Version("1.0.0")
    interrupt: Callable[[], object] = staticmethod(int)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"number": tfds.features.Scalar(np.int64)})
        )

    def _split_generators(self, _: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, dict[str, int]]]]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, int]]]:
        self.interrupt()
        for number in range(3):
            yield number, {"number": number * number}


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_data_set_that_another_process_finishes_is_read(when: str, tmp_path: Path) -> None:
    with quiet():
        first, second = Squares(data_dir=tmp_path), Squares(data_dir=tmp_path)
    if when == "before":
        first.download_and_prepare()
    else:
        second.interrupt = first.download_and_prepare
    prepare(second, "shapes")  # A name of a data set that needs no network.
    assert second.info.splits["train"].num_examples == 3
    assert sorted(int(each["number"]) for each in second.as_dataset(split="train")) == [0, 1, 4]
    assert [path.name for path in (tmp_path / "squares").iterdir()] == ["1.0.0"], "nothing incomplete is left"
