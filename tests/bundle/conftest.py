"""Small artifacts that these tests read; built once."""

from tests.bundle.artifacts import cnn, lstm, mixed  # noqa: F401 (fixtures)
