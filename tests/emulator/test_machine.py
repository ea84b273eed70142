"""An emulated device, really run: it is the core that it is said to be, and nothing of this machine shows through."""

import json
import subprocess


def run(machine, code, path=()):
    command, environment = machine.python(["-c", code], path)
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_it_has_the_devices_architecture_python_and_numpy(rpi4_machine, rpi2_machine):
    code = "import json, platform, numpy; print(json.dumps([platform.machine(), numpy.__version__]))"
    assert run(rpi4_machine, code) == ["aarch64", rpi4_machine.root.versions["numpy"]]
    assert run(rpi2_machine, code) == ["armv7l", rpi2_machine.root.versions["numpy"]]
