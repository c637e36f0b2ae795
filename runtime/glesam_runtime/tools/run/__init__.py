"""What glesam-run does: pictures and prompts in, masks, overlays and reports out."""
