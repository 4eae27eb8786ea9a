"""The paper's tables with what was measured beside what is reported, as Markdown and CSV."""

from __future__ import annotations

from eval.tables.build import build_tables, tables_markdown, tables_of, write_tables
from eval.tables.format import Table, TableRow

__all__ = ["Table", "TableRow", "build_tables", "tables_markdown", "tables_of", "write_tables"]
