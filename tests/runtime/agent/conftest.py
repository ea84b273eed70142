"""Small artifacts that these tests read; built once."""

from tests.bundle.artifacts import cnn  # noqa: F401 (a fixture)
