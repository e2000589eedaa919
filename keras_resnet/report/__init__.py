"""The report of training runs: curves, errors beside the paper's, settings, mistakes, responses."""
