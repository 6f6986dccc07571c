"""Sums of products of tables, in the best order found: `log_sum` and `marginals`."""
