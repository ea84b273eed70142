"""A TUF repository of artifacts: static files that any web server, bucket or CDN serves (docs/publishing.md).

layout        which file lies where, and what may be a name
files         writing so that a reader sees a file whole or not at all; the lock; what a kill left behind
policy        how long each role's metadata holds
keyring       finding the private key for a role, wherever it is kept
state         the repository as it is now, every signature of it checked
transaction   what a command changes: signed in memory first, then written in a safe order
creation      a new repository: its root, keys and first metadata
artifacts     what an artifact's file says of itself, checked before it is published
chunking      an artifact cut into the chunks that devices download
releases      versions, channels, rollouts and revocations of one target: pure functions on one document
publishing    the commands that change releases
roots         new roots, signed by several people one after the other
rotation      the commands that change keys
upkeep        the commands that keep it alive and small: refresh, prune
inspection    the commands that only look: status, check
"""
