"""glesam-sign: signs a bundle, so that a reader with the public key takes it from nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..bundle.reader import Bundle
from ..bundle.signature import write_signature
from .command import Command, Version, command_app, option
from .errors import one_line_errors, say

app = command_app()


@app.command(cls=Command)
def run(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder.")],
    key: Annotated[Path, option("Signature", "PATH", "An Ed25519 private key in PEM.")],
    _version: Version = False,
) -> None:
    """Sign a bundle with an Ed25519 key: writes bundle.json.sig into its folder.

    Make the keys with `openssl genpkey -algorithm ed25519 -out key.pem` and `openssl pkey -in key.pem -pubout
    -out key.pub.pem`; keep the first, and give the second to each reader.
    """
    with one_line_errors("glesam-sign", "sign"):
        opened = Bundle.open(bundle)
        path = write_signature(opened.root, key)
        say(f"{path}: written; check it with glesam-verify {bundle} --public-key key.pub.pem")


def main() -> None:
    """Runs the command."""
    app()
