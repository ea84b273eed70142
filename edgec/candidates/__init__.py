"""The candidates for a target's artifact: which there are, which need not be built, and which one is kept."""
