"""The order of the stages.

    scan -> ingest -> metric -> simplify -> canonicalize                  once; metric where one was asked for
         -> peaks -> analyze                                              for every target: what the model is like
                                                                          there; peaks of this machine only
         -> support -> calibrate -> quantize                              for every target: INT8 (quantize only, of a
                                                                          model that came quantized)
         -> compress                                                      or smaller weights; nothing for float
         -> tune                                                          where tiles of kernels are searched for
         -> lower -> validate -> pack -> measure
         -> count                                                         to choose among backends for a device that is
                                                                          not here

`build` walks it for every target, and for each of a target's backends where the user left that open; `plan` walks it
without working. Each step asks the store first. What a stage does is
the stage's own business; what is decided here is only which stage comes next, and what becomes of a verdict.
"""

from edgec.pipeline.driver import Plan, build, plan

__all__ = ["Plan", "build", "plan"]
