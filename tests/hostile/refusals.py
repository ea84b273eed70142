"""What every refusal owes to the person who reads it."""

from pathlib import Path

import pytest

from edgec.errors import ModelRefused
from edgec.onnx_graph.untrusted import scan


def refusal(path: Path) -> ModelRefused:
    """The error with which `scan` refuses the file: exit code 3, and all three parts of a message."""
    with pytest.raises(ModelRefused) as caught:
        scan(path)
    error = caught.value
    assert error.exit_code == 3
    assert error.what and error.why and error.fix
    return error
