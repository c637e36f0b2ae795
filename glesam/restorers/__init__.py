"""Other systems that segment degraded pictures, to compare GleSAM with."""
