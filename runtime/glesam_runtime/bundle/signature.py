"""Signatures of bundles: Ed25519 over bundle.json, which holds the hash of every other file.

bundle.json.sig holds the 64 bytes of the signature. Keys are PEM files as `openssl genpkey` writes them.
The reader needs a signature only where it is given a public key; then it needs `cryptography`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BundleError, InputError
from ..output import write_files

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE = "bundle.json.sig"
"""Name of the file with the signature."""
_MOST_KEY_BYTES = 10_000
_CURE = "make one with: openssl genpkey -algorithm ed25519 -out key.pem"


def sign_text(text: bytes, key: Path) -> bytes:
    """Returns the signature of bundle.json's text by the private key in file `key`.

    Raises InputError where the file is no such key; ImportError without `cryptography`.
    """
    return _private_key(key).sign(text)


def write_signature(root: Path, key: Path) -> Path:
    """Signs the bundle in folder `root`, which the caller has opened; returns the path of the signature."""
    path = root / SIGNATURE
    write_files({path: sign_text((root / "bundle.json").read_bytes(), key)})
    return path


def check_signature(root: Path, text: bytes, signature: bytes, key: Path) -> None:
    """Checks the signature of bundle.json's text with the public key in file `key`.

    Raises BundleError where it is another key's or another text's; InputError where the file is no such key.
    """
    try:
        from cryptography.exceptions import InvalidSignature

        public = _public_key(key)
    except ImportError as error:
        raise InputError(
            f"{key}: a public key needs the package {error.name}: pip install 'glesam[sign]'"
        ) from error
    try:
        public.verify(signature, text)
    except InvalidSignature as error:
        raise BundleError(
            f"bundle {root}: expected a signature by the key {key}, found another; "
            "do not use this bundle, or give the public key of its maker"
        ) from error


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(path), None)
    except (OSError, ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise _no_key(path, "private") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(path))
    except (OSError, ValueError) as error:
        raise _no_key(path, "public") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public")
    return key


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_KEY_BYTES)


def _no_key(path: Path, kind: str) -> InputError:
    return InputError(
        f"{path}: expected an Ed25519 {kind} key in PEM, without a password, found none; {_CURE}"
    )
