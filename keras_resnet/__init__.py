"""Deep residual networks in Keras."""
