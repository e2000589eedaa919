"""Image data: sources, decoding, the paper's views, statistics and batches."""
