"""glesam-eval: checkpoints and exported bundles in one table, with GLE and without."""
