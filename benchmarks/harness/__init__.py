"""What every benchmark shares: interleaved timing, records for measurements/, and Markdown tables of them."""
