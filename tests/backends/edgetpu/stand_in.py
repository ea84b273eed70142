"""A stand-in for the Edge TPU compiler: a shell script that takes the same arguments and does what a test says. The
compiler itself may not be passed on, so nothing here shows what it does."""

WRITES_MODEL = 'printf "0123TFL3-compiled" > "$out/${model%.tflite}_edgetpu.tflite"\n'


def write_stand_in(folder, body):
    """Write `folder`/bin/edgetpu_compiler; what it is called with goes to `folder`/arguments.

    body: shell commands; $out is the folder for results, $model the name of the file.
    """
    script = folder / "bin" / "edgetpu_compiler"
    script.parent.mkdir(exist_ok=True)
    script.write_text(
        "#!/bin/sh\n# STAND-IN for Google's edgetpu_compiler, written by a test\n"
        f'echo "$@" > {folder}/arguments\n'
        'if [ "$1" = --version ]; then echo "Edge TPU Compiler version 16.0.384591198"; exit 0; fi\n'
        'out="$3"; model=$(basename "$6")\n' + body
    )
    script.chmod(0o755)
    return script
