"""One module a figure, each against what a user would take instead; ``python -m benchmarks`` runs them."""
