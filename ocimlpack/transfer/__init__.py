"""Moving content between stores: one `copy`, and the one pool of threads that it uses."""
