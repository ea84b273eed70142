"""Programs that stand in for mmdebstrap, pip and QEMU: they do the little that is looked at, or fail as told."""

import sys
from pathlib import Path

_MMDEBSTRAP = """
import io, sys, tarfile
archive = next(word for word in sys.argv if word.endswith(".tar"))
files = {{
    "./packages": b"libc6_2.36-9_arm64.deb\\npython3.11_3.11.2-6_arm64.deb\\nzlib1g_1%3a1.2.13_arm64.deb\\npartial\\n",
    "./usr/bin/python3.11": b"python",
    "./usr/bin/perl": b"not needed",
    "./usr/lib/python3.11/os.py": b"import sys",
    "./usr/share/man/man1/python.1": b"not needed",
    "./usr/share/doc/libc6/copyright": b"LGPL",
}}
with tarfile.open(archive, "w") as tar:
    for name, content in files.items():
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o755
        tar.addfile(member, io.BytesIO(content))
"""

_PIP = """
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--target") + 1])
for name in ("engine/__init__.py", "engine/libLiteRtWebGpuAccelerator.so", "engine/tests/test.py", "bin/tool"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(name)
"""

_QEMU = """
import struct, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("qemu-aarch64 version 7.2.22 (Debian 1:7.2)")
elif arguments == ["-cpu", "help"]:
    print("Available CPUs:\\n  a64fx\\n  cortex-a53\\n  cortex-a72\\n  pxa250 (deprecated)\\n")
elif any(word.endswith("proof.py") for word in arguments):
    print('{{"python": "3.11.2", "glibc": "2.36", "numpy": "2.4.6", "ai-edge-litert": "2.3.0"}}')
else:
    sys.stdout.buffer.write(struct.pack("<6Q", 16, 0b11, 26, 0, 0, 0))
"""


class Programs:
    """A folder of programs. count: how often one was started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, code: str) -> Path:
        """A program of Python `code`, which counts its starts. In `code`, braces are doubled."""
        program = self.folder / name
        counting = f"open({str(self._starts(name))!r}, 'a').write('.')\n"
        program.write_text(f"#!{sys.executable} -I\n{counting}{code.format()}")
        program.chmod(0o755)
        return program

    def put_failing(self, name: str, said: str, code: int = 25) -> Path:
        """A program that says `said` on standard error, and fails."""
        text = self.folder / f"{name}.txt"
        text.write_text(said)
        return self.put(name, f"import sys\nsys.stderr.write(open({str(text)!r}).read())\nsys.exit({code})\n")

    def put_all(self) -> None:
        """Programs that work: all that making a root for aarch64 needs."""
        self.put("mmdebstrap", _MMDEBSTRAP)
        self.put("pip", _PIP)
        self.put("qemu-aarch64-static", _QEMU)

    def count(self, name: str) -> int:
        starts = self._starts(name)
        return len(starts.read_text()) if starts.exists() else 0

    def _starts(self, name: str) -> Path:
        return self.folder / f"{name}.starts"
