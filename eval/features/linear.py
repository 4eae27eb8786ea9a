"""The linear probe: logistic regression on frozen features.

In: one feature vector per video. Out: classes and probabilities of the test videos. Nothing is random.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression

from eval.features.config import LinearConfig
from eval.features.neighbours import Predictions, normalise, require_labels
from eval.features.vectors import VectorArray
from shardify.arrays import FloatArray, IntArray
from shardify.errors import one_line


def classify_linearly(
    train: VectorArray, train_labels: IntArray, queries: VectorArray, config: LinearConfig, *, num_classes: int
) -> Predictions:
    """Fit a linear classifier to the training videos and apply it to the queries.

    Features are normalised by the training set. A class without training videos has probability 0; a single class has
    probability 1. With two classes, scikit-learn fits the binomial form. A fit that did not converge gives a warning.

    Shapes and errors are those of :func:`eval.features.neighbours.classify_by_neighbours`.
    """
    require_labels(train, train_labels, num_classes)
    scaled, normalised = normalise(train, queries)
    scores = np.zeros((len(queries), num_classes))
    classes = np.unique(train_labels)
    warning = None
    if len(classes) == 1:
        scores[:, classes[0]] = 1
    elif len(queries):
        scores[:, classes], warning = _fitted_probabilities(scaled, train_labels, normalised, config)
    predicted = scores.argmax(axis=1).astype(np.int64, copy=False)
    return Predictions(predicted=predicted, scores=scores, warning=warning)


def _fitted_probabilities(
    train: VectorArray, train_labels: IntArray, queries: VectorArray, config: LinearConfig
) -> tuple[FloatArray, str | None]:
    """float64 (Q, number of classes in train_labels) in increasing order of class, and the warning."""
    model = LogisticRegression(C=config.inverse_penalty, solver="lbfgs", max_iter=config.max_iterations)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Float32 would change the third digit of probabilities, and the first digit with a weak penalty.
        model.fit(train.astype(np.float64), train_labels)
        probabilities: FloatArray = model.predict_proba(queries.astype(np.float64))
    if not caught:
        return probabilities, None
    reason = one_line(caught[0].message)[:120]
    iterations = int(model.n_iter_.max())
    return probabilities, (
        f"the linear probe did not converge ({iterations} of at most {config.max_iterations} iterations; scikit-learn: "
        f"{reason}); raise max_iterations, or lower inverse_penalty from {config.inverse_penalty:g}"
    )
