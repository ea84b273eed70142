"""Publishing to a registry for containers (OCI), and fetching from there without being a device."""
