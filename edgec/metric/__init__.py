"""The user's own measure of accuracy: `--metric module:function`, on labelled samples, higher is better.

- source.py: which function it is, found and digested without running it (in the process that the user started)
- labels.py: what the outputs are to be compared with
- request.py: all that was asked for, as one input of a stage
- user_metric.py: the function itself, loaded and called in a worker
- measure.py: its value for the original and for whatever else can be run
"""

from edgec.metric.measure import Measure
from edgec.metric.request import MetricRequest
from edgec.metric.user_metric import UserMetric

__all__ = ["Measure", "MetricRequest", "UserMetric"]
