"""glesam-bench: one backend in detail (measure, report), or several in turn (compare, page)."""
