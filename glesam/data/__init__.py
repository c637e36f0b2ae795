"""Images with masks, the LQSeg degradation, and prompts drawn from masks."""
