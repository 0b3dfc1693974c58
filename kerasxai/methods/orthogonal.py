"""Coalitions of superpixels from orthogonal two-level designs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError


def orthogonal_coalitions(samples: int, count: int, seed: int) -> NDArray[np.int8]:
    """Returns `(samples, count)` int8, 1 for a visible superpixel; the first row is all ones.

    The rows after the first are blocks of a Hadamard matrix of m rows: `count` of its columns are chosen at random, the
    sign of each column and the order of the rows are random, and each row is followed by its complement. In a block of
    2 m rows each column is balanced, and any three columns have all eight combinations equally often.

    Each row alone is uniform, because the signs are, so that sums over rows have the same expectation as for rows that
    are drawn independently. The first rows do not depend on `samples`.
    """
    generator = np.random.default_rng([seed, count])
    matrix = hadamard_matrix(count)
    order = len(matrix)
    blocks = [np.ones((1, count), np.int8)]
    for _ in range(math.ceil((samples - 1) / (2 * order))):
        columns = generator.permutation(order)[:count]
        signs = generator.choice(np.array([-1, 1], np.int8), count)
        rows = ((matrix[:, columns] * signs)[generator.permutation(order)] > 0).astype(np.int8)
        blocks.append(np.stack([rows, 1 - rows], 1).reshape(2 * order, count))
    return np.concatenate(blocks)[:samples]


def hadamard_matrix(least: int) -> NDArray[np.int8]:
    """Returns the smallest Hadamard matrix with `least` rows or more that doubling and Paley's first construction make.

    A Hadamard matrix has entries of 1 and -1, and orthogonal columns.

    Raises:
        KerasxaiError: `least` is below 1.
    """
    if least < 1:
        raise KerasxaiError(f"least must be 1 or more, got {least}")
    order = least
    # Each power of two has a matrix, so that the search ends.
    while (matrix := _of_order(order)) is None:
        order += 1
    return matrix


def _of_order(order: int) -> NDArray[np.int8] | None:
    if order == 1:
        return np.ones((1, 1), np.int8)
    if order % 4 == 0 and _is_prime(order - 1):
        return _paley(order - 1)
    half = _of_order(order // 2) if order % 2 == 0 else None
    return None if half is None else np.block([[half, half], [half, -half]])


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def _paley(prime: int) -> NDArray[np.int8]:
    """Returns the Hadamard matrix of `prime + 1` rows, for a prime that is 3 modulo 4."""
    residues = np.arange(prime)
    # 1 for the squares modulo the prime, -1 for the rest, 0 for zero.
    character = np.full(prime, -1, np.int8)
    character[residues**2 % prime] = 1
    character[0] = 0
    matrix = np.ones((prime + 1, prime + 1), np.int8)
    matrix[1:, 0] = -1
    matrix[1:, 1:] = character[(residues[:, None] - residues) % prime] + np.eye(prime, dtype=np.int8)
    return matrix
