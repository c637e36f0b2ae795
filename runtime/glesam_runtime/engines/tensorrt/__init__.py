"""TensorRT and TensorRT for RTX: engines built from a bundle's graphs, kept in a cache, and run."""
