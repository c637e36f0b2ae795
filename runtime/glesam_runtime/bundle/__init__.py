"""The bundle: reading, checking and writing it. docs/bundle.md is the specification."""
