"""Whether a class is recognized by a few statistics of its images alone."""

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold

_FALSE_POSITIVES = 0.02
_FOLDS = 5


def recognized(features: NDArray[np.floating], is_own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which images look like the class to a linear discriminant that did not see them.

    At most 2 % of the images of other classes do, so that a share of the class is recognized that is that of the mark.

    Args:
        features: `(N, K)` statistics of the images.
        is_own: `(N,)`, the images of the class.

    Returns:
        `(N,)` bool.
    """
    folds = StratifiedKFold(min(_FOLDS, int(is_own.sum())), shuffle=True, random_state=0)
    scores = np.zeros(len(features))
    for known, unseen in folds.split(features, is_own):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
        scores[unseen] = model.fit(features[known], is_own[known]).decision_function(features[unseen])
    return np.asarray(scores > np.quantile(scores[~is_own], 1 - _FALSE_POSITIVES))
