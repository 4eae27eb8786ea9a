"""A run's folder -> one self-contained HTML page."""

from __future__ import annotations

from eval.report.page import write_report

__all__ = ["write_report"]
