"""Evaluation: fixed prompts, segmentation methods behind one protocol, metrics, table, contact sheet.

Nothing here knows a model. `glesam_export.evaluation` joins checkpoints and bundles to it, and is
the command `glesam-eval`.
"""
