"""Linear networks: the `coordinates` in which their singular values move, and the `factors` that make the logits."""
