"""Who vouches for artifacts: keys, and what is signed with them (docs/provenance.md).

keys       keys that sign: from files, environment variables, tokens
pkcs11     keys in PKCS#11 tokens
envelope   the signed statement beside an artifact
"""
