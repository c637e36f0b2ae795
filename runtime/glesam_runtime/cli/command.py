"""What every command has: -h, --version, shell completion, help in titled groups; and shared arguments.

app = command_app()

@app.command(cls=Command)
def run(bundle: BundleFolder = None, _version: Version = False) -> None:
    ...
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from .errors import EXIT_STATUS, complain, say
from .habits import advice

CONTEXT = {"help_option_names": ["-h", "--help"]}
"""Settings of every command's context, in typer's words."""
HELP_GROUP = "Help"
"""Title of the group of --help, --version and shell completion."""
_HELP_OPTIONS = ("help", "install_completion", "show_completion")


class Command(TyperCommand):
    """A command whose help lists its options in groups: `rich_help_panel` of a typer.Option is the title.

    Written without rich, so that it stays plain text of at most 80 columns.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parses, but tells first who types another program's option what it is called here."""
        if not ctx.resilient_parsing and (line := self._advice(ctx, args)) is not None:
            complain(f"{line}; {ctx.command_path} -h lists all options")
            raise typer.Exit(EXIT_STATUS)
        return super().parse_args(ctx, args)

    def _advice(self, ctx: typer.Context, args: list[str]) -> str | None:
        params = self.get_params(ctx)
        options = {name for each in params for name in (*each.opts, *each.secondary_opts)}
        arguments = {
            (each.metavar or each.name or "").upper(): each.nargs == -1
            for each in params
            if each.param_type_name == "argument"
        }
        return advice(ctx.command_path, args, options, arguments)

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Writes the arguments, then each group of options in the order of the signature."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                name, text = record
                groups.setdefault(_title(param), []).append((name.split(" <")[0], text))
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def command_app(**settings: Any) -> typer.Typer:  # noqa: ANN401
    """Returns the typer application of one command: add it with `@app.command(cls=Command)`.

    settings: further ones of typer.Typer.
    """
    return typer.Typer(
        **settings,
        context_settings=CONTEXT,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def option(
    group: str,
    metavar: str,
    text: str,
    *names: str,
    least: float | None = None,
    most: float | None = None,
    show_default: bool = True,
) -> Any:  # noqa: ANN401 - typer's own type
    """Returns an option with a value, in the group of this title; `least` and `most` are allowed numbers."""
    return typer.Option(
        *names,
        metavar=metavar,
        min=least,
        max=most,
        help=text,
        show_default=show_default,
        rich_help_panel=group,
    )


def switch(group: str, name: str, text: str) -> Any:  # noqa: ANN401 - typer's own type
    """Returns an option without a value, in the group of this title."""
    return typer.Option(name, help=text, rich_help_panel=group)


def say_renamed(ctx: typer.Context, args: Sequence[str], renamed: Sequence[str]) -> None:
    """Says on stderr how a command with options of old names is written today, where `renamed` differs."""
    if renamed != args and not ctx.resilient_parsing:
        say(f"note: written today as: {ctx.command_path} {shlex.join(renamed)}", err=True)


def level_number(text: str) -> str:
    """Returns "3" for a level that is written LQ-3, lq3 or 3; anything else as it is."""
    return re.sub(r"(?i)^lq-?(?=\d)", "", text.strip())


def _title(param: Any) -> str:  # noqa: ANN401
    """Returns the title of a parameter's group."""
    if param.param_type_name == "argument":
        return "Arguments"
    if param.name in _HELP_OPTIONS:
        return HELP_GROUP
    return getattr(param, "rich_help_panel", None) or "Options"


def _show_version(is_requested: bool) -> None:
    if is_requested:
        try:
            typer.echo(f"glesam {version('glesam')}")
        except PackageNotFoundError:
            typer.echo("glesam, run from a source tree that is not installed")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=_show_version,
        is_eager=True,
        help="Show the version and exit.",
        rich_help_panel=HELP_GROUP,
    ),
]
BundleFolder = Annotated[
    Path | None,
    typer.Argument(metavar="BUNDLE", help="A folder. Default: the shipped model.", show_default=False),
]
