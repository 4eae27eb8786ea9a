"""How the network of a result row was trained for it: epochs and learning rate.

In: a row. Out: values, and words for tables and report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.results.rows import Row


def training_of(row: Row) -> Mapping[str, Any]:
    """The section of the row's config that its training followed; empty if the row needed no training."""
    for section in row.config.values():
        if isinstance(section, dict) and "optimizer" in section:
            return section
    return {}


def learning_rate_of(row: Row) -> float | None:
    """The first learning rate of the row's training; None if there was none."""
    rate: float | None = training_of(row).get("optimizer", {}).get("learning_rate")
    return rate


def recipe_words(row: Row) -> str:
    """The row's training, such as "75 epochs at 5e-5"; empty if there was none."""
    rate = learning_rate_of(row)
    return "" if rate is None else f"{training_of(row).get('epochs')} epochs at {rate_words(rate)}"


def rate_words(rate: float) -> str:
    """0.0003 -> "3e-4"."""
    digits, exponent = f"{rate:.3e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"
