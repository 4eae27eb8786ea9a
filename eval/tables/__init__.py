"""The paper's tables with measured values beside the reported ones."""
