"""Builds side by side: what each artifact says of itself, what its build recorded, and the Pareto front."""
