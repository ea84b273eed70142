"""Bringing artifacts to devices, the workshop's side; the device's is `edgec.runtime.agent`.

signing/        keys, and signatures beside artifacts (docs/provenance.md)
repository/     static files that devices update from (docs/publishing.md)
registry/       artifacts in registries for containers (docs/oci.md)
boards/         artifacts over ssh, for a handful of boards (docs/deploy.md)
agent_program   the device agent as one file (docs/device-agent.md)
"""
