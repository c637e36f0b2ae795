"""nano: the networks and the training recipe of the shipped small model."""
