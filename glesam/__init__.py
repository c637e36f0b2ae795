"""GleSAM in PyTorch: the model (`glesam.model`), its data, its training. Imports nothing of ours."""
