"""`edgec recipes`: the ways in which images become input tensors."""

from __future__ import annotations

import json

import click

from edgec import resources
from edgec.cli.json_output import json_option
from edgec.recipes import load_recipe


@click.command(name="recipes")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the preprocessing recipes: built-in ones, and those in ./calibration. With NAME, show that one's file."""
    if name is not None:
        recipe = load_recipe(name)
        path = resources.find("calibration", name)
        assert path is not None
        click.echo(json.dumps(recipe.to_json(), indent=1) if as_json else path.read_text(encoding="utf-8"), nl=as_json)
        return
    recipes = {known: load_recipe(known) for known in sorted(resources.declared("calibration"))}
    if as_json:
        click.echo(json.dumps({known: recipe.to_json() for known, recipe in recipes.items()}, indent=1))
        return
    width = max(len(known) for known in recipes)
    for known, recipe in recipes.items():
        click.echo(f"{known:<{width}}  {recipe.title}")
