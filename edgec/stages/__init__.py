"""The stages of a build, one module each.

A stage is a pure function of its inputs: `run(**inputs, params=..., context=...)` leaves its result as files in
`context.out` and nothing anywhere else. It runs in a process of its own. Stages know nothing of each other, of the
store, or of the pipeline that joins them.
"""
