"""The driver of the compiler, on a stand-in: a shell script that these tests write."""

from functools import partial

import pytest

from edgec.backends.edgetpu import compiler
from edgec.errors import InternalError, WorkerCrashed, WorkerTimedOut
from tests.backends.edgetpu.stand_in import WRITES_MODEL, write_stand_in
from tests.backends.edgetpu.test_log import SIXTEEN
from tests.processes import ends


@pytest.fixture
def stand_in(tmp_path):
    """Writes a script that does what the test says."""
    return partial(write_stand_in, tmp_path)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(b"0123TFL3")
    return path


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_it_is_looked_for_on_path_only(stand_in, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert compiler.find() is None
    script = stand_in("")
    assert compiler.find() == script


def test_it_says_its_version(stand_in):
    assert compiler.version(stand_in("")) == "16.0.384591198"


def test_its_arguments_its_file_and_its_log(stand_in, model, out, tmp_path):
    script = stand_in(WRITES_MODEL + f"cat <<'LOG'\n{SIXTEEN}\nLOG\n")
    made = compiler.compile_model(script, model, out, 13)
    assert (tmp_path / "arguments").read_text().split() == ["-s", "-o", str(out), "-m", "13", str(model)]
    assert made.file == out / "net_edgetpu.tflite"
    assert made.log.version == "16.0.384591198"
    assert [row.operator for row in made.log.rows] == ["ADD"]


def test_where_it_prints_no_table_the_file_beside_the_model_is_read(stand_in, model, out):
    script = stand_in(
        WRITES_MODEL + 'printf "Operator  Count  Status\\n\\nADD  1  Mapped to Edge TPU\\n" > "$out/net_edgetpu.log"\n'
    )
    assert [row.operator for row in compiler.compile_model(script, model, out, 14).log.rows] == ["ADD"]


def test_one_that_hangs_is_ended_with_its_children(stand_in, model, out, tmp_path):
    script = stand_in(f"sleep 60 & echo $! > {tmp_path}/child; echo thinking; wait\n")
    with pytest.raises(WorkerTimedOut, match="did not finish in 1 s"):
        compiler.compile_model(script, model, out, 14, timeout=1)
    assert ends(int((tmp_path / "child").read_text()))


def test_one_that_fails_says_why_in_its_own_words(stand_in, model, out):
    script = stand_in("echo 'Invalid model: net.tflite'; echo 'Model not quantized'; exit 1\n")
    with pytest.raises(WorkerCrashed) as caught:
        compiler.compile_model(script, model, out, 14)
    assert "exit code 1" in caught.value.what
    assert "Model not quantized" in caught.value.why
    assert "uncompiled" in caught.value.fix


def test_an_internal_error_that_comes_and_goes_is_tried_again(stand_in, model, out, tmp_path):
    script = stand_in(
        f"if [ ! -e {tmp_path}/tried ]; then touch {tmp_path}/tried; echo 'Internal compiler error. Aborting!'; exit 1;"
        f" fi\n{WRITES_MODEL}"
    )
    assert compiler.compile_model(script, model, out, 14).file.is_file()


@pytest.mark.parametrize(
    "body",
    [
        "exit 0\n",
        "echo garbage\n",
        'printf "no model" > "$out/net_edgetpu.tflite"\n',
        ': > "$out/net_edgetpu.tflite"\n',
    ],
    ids=["nothing", "garbage", "another file", "an empty file"],
)
def test_one_that_writes_no_model_is_not_believed(stand_in, model, out, body):
    with pytest.raises(WorkerCrashed, match=r"wrote no net_edgetpu\.tflite"):
        compiler.compile_model(stand_in(body), model, out, 14)


def test_output_that_is_no_text_does_no_harm(stand_in, model, out):
    script = stand_in("printf '\\377\\376\\000'; " + WRITES_MODEL)
    assert compiler.compile_model(script, model, out, 14).log.version is None


def test_one_killed_by_a_signal_is_named(stand_in, model, out):
    with pytest.raises(WorkerCrashed, match="SIGSEGV"):
        compiler.compile_model(stand_in("kill -SEGV $$\n"), model, out, 14)


def test_a_program_for_another_machine_is_no_traceback(model, out, tmp_path):
    script = tmp_path / "edgetpu_compiler"
    script.write_bytes(b"\x7fELF of another machine")
    script.chmod(0o755)
    with pytest.raises(InternalError, match="can't be started"):
        compiler.compile_model(script, model, out, 14)
