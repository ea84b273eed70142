"""Builds the images from a clean context, and asks of them what docs/docker.md promises.

    command.py     the command line: chooses an engine, builds, checks, cleans up
    engines.py     what an engine is, and which one this machine has
    docker_cli.py  Docker or Podman
    buildah.py     without either: buildah as root
    base_image.py  the base image, where nothing can be pulled: made of Debian's packages
    workplace.py   the folder that all of it happens in, and its removal
    context.py     the build's context: a copy of the working copy, with what this site needs and bait for leaks
    promises.py    what has to hold, one function each

Nothing but the standard library is used.
"""
