"""Correlations of paired values, defined for constant ones as well."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson's correlation along the last axis; 0 where one of them is constant."""
    deviations = [x - x.mean(-1, keepdims=True) for x in (one, two)]
    # A constant has a deviation of rounding errors, whose direction means nothing.
    varies = np.logical_and(*(np.ptp(x, axis=-1) > 1e-12 * np.abs(x).max(-1) for x in (one, two)))
    norms = np.sqrt((deviations[0] ** 2).sum(-1) * (deviations[1] ** 2).sum(-1))
    products = (deviations[0] * deviations[1]).sum(-1)
    return np.divide(products, norms, out=np.zeros_like(products), where=varies & (norms > 0))


def spearman(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank correlation along the last axis, equal values at their mean rank; 0 where one is constant."""
    return correlation(rankdata(one, axis=-1), rankdata(two, axis=-1))
