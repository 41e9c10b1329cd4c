"""Linear networks: `coordinates` of their singular values, and `factors` of the logits."""
