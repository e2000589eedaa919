"""Training: devices and data in, the step, the loop over epochs, and one run from start to finish."""
