"""Small artifacts that these tests measure; built once."""

from tests.bundle.artifacts import cnn, lstm  # noqa: F401 (fixtures)
