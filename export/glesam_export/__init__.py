"""Checkpoint to bundle. `pipeline.export_bundle` is the whole chain; `folds` are its exact parts."""
