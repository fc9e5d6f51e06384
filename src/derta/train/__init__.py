"""Training: the supervised forward, the Trainer, and the run."""
