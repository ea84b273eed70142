"""`edgec device-agent`: the program that looks after a device's models, as one file."""

from __future__ import annotations

from pathlib import Path

import click

from edgec.cli.json_output import json_option


@click.command(name="device-agent", short_help="Write edgec-device.")
@click.option(
    "-o",
    "--output",
    default=Path("edgec-device"),
    show_default=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it.",
)
@json_option
def command(output: Path, as_json: bool) -> None:
    """Write edgec-device, the program that looks after a device's models, as one file.

    It fetches, verifies, tests, switches and takes back artifacts on a device, and needs Python 3.9 there and nothing
    else. Copy it to an image, or let `edgec deploy` bring it. The same edgec writes the same bytes.

    \b
    edgec device-agent -o edgec-device
    scp edgec-device pi@camera-1:
    ssh pi@camera-1 ./edgec-device --help
    """
    from edgec.cli.json_output import print_result
    from edgec.cli.sizes import size
    from edgec.output_folder import check_writable, write_whole
    from edgec.shipping.agent_program import program

    made = program()
    check_writable(output.parent)
    write_whole(output, made.content, 0o755)
    if as_json:
        print_result(
            {"path": str(output), "bytes": len(made.content), "sha256": made.sha256, "contents": made.contents}
        )
        return
    click.echo(f"{output} ({size(len(made.content))})")
    click.echo(f"SHA-256 {made.sha256}")
    click.echo("with " + ", ".join(f"{name} {version}" for name, version in made.contents.items()))
