"""Networks in a form that exports well; each computes what the original computes."""
