"""Whether two runs of a model say the same: measured per output and per channel, then judged against a gate.

`metrics.compare` turns pairs of outputs into numbers, `gates.judge` turns numbers into a verdict in words. Neither
knows which engines made the outputs. What each number means and where the thresholds come from: docs/parity.md.
"""
