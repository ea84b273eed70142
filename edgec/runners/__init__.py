"""Where an artifact can run during a build. One module a way of running."""
