"""The paper's experiments: its printed numbers, the runs that measure them, and their plots."""
