"""Artifacts in a registry for containers, OCI (docs/oci.md); what devices need of it is `edgec.runtime.agent.oci`.

publishing   artifacts as manifests under a tag, an entry for each target
upload       blobs and manifests, sent with resuming
fetching     getting an artifact without being a device
"""
