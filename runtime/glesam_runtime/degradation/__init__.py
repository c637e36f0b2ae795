"""LQSeg: low-quality pictures made from good ones, as GleSAM is trained and measured on. No torch.

Needs OpenCV and SciPy: pip install 'glesam[degrade]'.
"""
