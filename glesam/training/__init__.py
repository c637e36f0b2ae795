"""The recipe that trains a model from scratch: SAM, the U-Net's base, GLE (LoRA), the decoder."""
