"""LQSeg: low-quality pictures made from good ones. Needs the extra `degrade`; no torch."""
