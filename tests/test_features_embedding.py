"""Embeddings, neighbors and projections."""

import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from kerasxai import features
from kerasxai.features.stream import batches
from kerasxai.tools.errors import KerasxaiError


@pytest.fixture(scope="module")
def model() -> Any:
    return zoo.build("functional")


@pytest.mark.parametrize("kind", ["functional", "nested", "subclassed"])
def test_batches_of_1_and_64_give_the_same(kind: str) -> None:
    model, images = zoo.build(kind), zoo.images(70)
    one, many = (features.embed(model, images, batch_size=size).vectors for size in (1, 64))
    # oneDNN and Eigen may choose other kernels for other batch sizes, which round the last bit differently.
    np.testing.assert_allclose(one, many, rtol=1e-6, atol=1e-6)
    maps = features.activations(model, images)
    np.testing.assert_allclose(many, maps.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features.embed(model, images, pool="max").vectors, maps.max((1, 2)), atol=1e-6)
    np.testing.assert_allclose(features.embed(model, images, pool="flatten").vectors, maps.reshape(70, -1), atol=1e-6)


def test_any_layer_and_dense_ones(model: Any) -> None:
    images = zoo.images(3)
    top = features.embed(model, images, "top").vectors
    np.testing.assert_allclose(top, np.asarray(model(images)), atol=1e-6)


def test_a_file_is_what_memory_would_be(model: Any, tmp_path: Path) -> None:
    images = zoo.images(23)
    names = [f"é\t{i}\\n\n" for i in range(23)]
    data = [{"image": x, "name": n, "label": i % 3} for i, (x, n) in enumerate(zip(images, names, strict=True))]
    path = tmp_path / "deep" / "vectors.npy"
    written = features.embed(model, iter(data), path=path, batch_size=5)
    held = features.embed(model, data)
    assert isinstance(written.vectors, np.memmap)
    np.testing.assert_allclose(written.vectors, held.vectors, rtol=1e-6, atol=1e-6)
    assert written.names == held.names == names
    np.testing.assert_array_equal(written.labels, np.arange(23) % 3)
    again = features.load_embeddings(path)
    np.testing.assert_array_equal(np.load(path), again.vectors)
    assert again.names == names and features.embed(model, images).labels is None
    assert sorted(p.name for p in path.parent.iterdir()) == ["vectors.npy", "vectors.npy.tsv"]


def test_a_failure_leaves_no_file(model: Any, tmp_path: Path) -> None:
    def failing() -> Any:
        yield zoo.images(1)[0]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        features.embed(model, failing(), path=tmp_path / "v.npy", batch_size=1)
    assert not list(tmp_path.iterdir())
    for wrong in ("none.npy", "x.txt"):
        with pytest.raises(KerasxaiError):
            features.load_embeddings(tmp_path / wrong)
    with pytest.raises(KerasxaiError, match="expected a known pool"):
        features.embed(model, zoo.images(1), pool="median")


def test_sources_of_all_kinds_give_the_same_batches() -> None:
    images = zoo.images(11)
    labels = np.arange(11)
    dataset = tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
    sources = [
        (images, labels),
        {"image": images, "label": np.eye(11)},
        dataset,
        dataset.batch(3),
        list(zip(images, labels, strict=True)),
        ({"image": x[None], "label": [y]} for x, y in zip(images, labels, strict=True)),
    ]
    for source in sources:
        found = list(batches(source, 4))
        assert [len(batch["image"]) for batch in found] == [4, 4, 3]
        np.testing.assert_array_equal(np.concatenate([batch["image"] for batch in found]), images)
        np.testing.assert_array_equal(np.concatenate([batch["label"] for batch in found]), labels)
        assert [name for batch in found for name in batch["name"]] == [str(i) for i in range(11)]
    with pytest.raises(KerasxaiError, match="one size"):
        list(batches([np.zeros((4, 4, 3)), np.zeros((5, 4, 3))], 2))
    with pytest.raises(KerasxaiError, match="at least one image"):
        list(batches([], 2))


def clusters(count: int = 20, width: int = 12, spread: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), count)
    return (random.normal(size=(3, width))[labels] + spread * random.normal(size=(3 * count, width))), labels


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbors_against_brute_force(metric: str, tmp_path: Path) -> None:
    vectors, labels = clusters(spread=1.0)
    index = features.NeighborIndex(vectors, [f"n{i}" for i in range(60)], labels, metric)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = 1 - unit @ unit.T if metric == "cosine" else np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    own = distances.copy()
    np.fill_diagonal(own, np.inf)
    order = np.argsort(own, 1)
    found = index.neighbors_of(k=7)
    np.testing.assert_array_equal(found.indices, order[:, :7])
    assert found.names[3][0] == f"n{order[3, 0]}"
    right = labels[order] == labels[:, None]
    precision = index.precision_at([1, 5, 7])
    assert precision == pytest.approx({k: right[:, :k].mean() for k in (1, 5, 7)})
    loaded = features.NeighborIndex.load(index.save(tmp_path / "index.npz"))
    asked = loaded.query(vectors[:4] + 1e-9, k=5)
    np.testing.assert_array_equal(asked.indices, np.argsort(distances[:4], 1)[:, :5])
    np.testing.assert_allclose(asked.distances, np.sort(distances[:4], 1)[:, :5], atol=1e-5)
    assert loaded.metric == metric and loaded.names == index.names


def test_an_image_is_not_its_own_neighbor_among_twins() -> None:
    index = features.NeighborIndex(np.ones((6, 3)))
    found = index.neighbors_of(k=3)
    assert all(i not in row for i, row in enumerate(found.indices.tolist()))


def test_neighbors_complain(tmp_path: Path) -> None:
    index = features.NeighborIndex(clusters()[0])
    with pytest.raises(KerasxaiError, match="another layer"):
        index.query(np.zeros((1, 5)))
    with pytest.raises(KerasxaiError, match="labels"):
        index.precision_at(1)
    with pytest.raises(KerasxaiError, match="cannot read an index"):
        features.NeighborIndex.load(tmp_path / "none.npz")
    with pytest.raises(KerasxaiError, match="one name"):
        features.NeighborIndex(np.ones((3, 2)), ["a"])


def test_new_images_find_themselves(model: Any, tmp_path: Path) -> None:
    images = zoo.images(20)
    path = features.NeighborIndex(features.embed(model, images)).save(tmp_path / "i.npz")
    found = features.NeighborIndex.load(path).query(features.embed(model, images[7:9]), k=1)
    assert found.indices.ravel().tolist() == [7, 8]


def test_pca_is_the_principal_plane() -> None:
    vectors, _ = clusters()
    found = features.project(vectors)
    centered = vectors - vectors.mean(0)
    _, sizes, axes = np.linalg.svd(centered, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.points), np.abs(centered @ axes[:2].T), atol=1e-3)
    assert found.explained == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum(), rel=1e-4)


def test_tsne_keeps_clusters_and_noise_is_not_believed() -> None:
    vectors, labels = clusters(width=80)
    found, again = (features.project(vectors, "tsne", seed=1, perplexity=10, max_iter=400) for _ in range(2))
    assert features.NeighborIndex(found.points, labels=labels, metric="euclidean").precision_at(5)[5] > 0.95
    assert found.trustworthiness > 0.8 and found.measured == 60
    noise = np.random.default_rng(0).normal(size=(300, 200))
    assert features.project(noise).trustworthiness < 0.65
    np.testing.assert_array_equal(found.points, again.points)


def test_projections_complain() -> None:
    with pytest.raises(KerasxaiError, match="expected a known projection"):
        features.project(clusters()[0], "isomap")
    with pytest.raises(KerasxaiError, match="at least 4"):
        features.project(np.ones((2, 5)))
    if importlib.util.find_spec("umap") is None:
        with pytest.raises(KerasxaiError, match="pip install umap-learn"):
            features.project(clusters()[0], "umap")


class Pairs(keras.utils.PyDataset):
    """Three batches of two images with rows of labels."""

    def __init__(self, labels: np.ndarray) -> None:
        super().__init__()
        self.labels = labels

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((2, 4, 4, 3), index, np.float32), self.labels[2 * index : 2 * index + 2]


def test_a_stream_reads_a_pydataset_and_refuses_labels_of_several_classes() -> None:
    found = list(batches(Pairs(np.eye(6)), 4))
    assert [batch["label"].tolist() for batch in found] == [[0, 1, 2, 3], [4, 5]]
    assert found[1]["image"].max() == 2 and found[1]["name"] == ["4", "5"]
    with pytest.raises(KerasxaiError, match="expected one true class"):
        list(batches(Pairs(np.ones((6, 3))), 4))
