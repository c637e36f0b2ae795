"""GleSAM in PyTorch: the model (`glesam.model`), its data, training and evaluation."""
