"""With a public key only its owner's bundles are taken; without one nothing changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import native
import pytest
from tiny_bundle import manifest, write_manifest
from typer.testing import CliRunner

from glesam_runtime import Bundle, BundleError, GlesamError
from glesam_runtime.cli import sign, verify

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Encoding, Private, Public = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.PublicFormat.SubjectPublicKeyInfo,
)


def write_keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """Writes a pair of keys, as OpenSSL does; returns the private and the public one's path."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(Encoding, Private, serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding, Public))
    return private, public


def signed(bundle: Path, key: Path) -> Path:
    result = CliRunner().invoke(sign.app, [str(bundle), "--key", str(key)])
    assert result.exit_code == 0, result.output
    assert "bundle.json.sig: written" in result.output
    return bundle


def test_a_signed_bundle_opens_with_its_key_and_without(own_bundle: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    signed(own_bundle, private)
    assert Bundle.open(own_bundle, public).hash == Bundle.open(own_bundle).hash
    assert (own_bundle / "bundle.json.sig").stat().st_size == 64


def test_a_bundle_that_was_changed_and_hashed_anew_is_refused(own_bundle: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    signed(own_bundle, private)
    write_manifest(own_bundle, manifest(own_bundle) | {"gamma": 3.0})
    assert Bundle.open(own_bundle).manifest.gamma == 3.0
    with pytest.raises(BundleError, match=r"expected a signature by the key .*, found another"):
        Bundle.open(own_bundle, public)


def test_another_key_and_a_missing_signature_are_refused(own_bundle: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    with pytest.raises(BundleError, match=r"cannot read bundle\.json\.sig \(No such file"):
        Bundle.open(own_bundle, public)
    signed(own_bundle, private)
    with pytest.raises(BundleError, match="found another"):
        Bundle.open(own_bundle, write_keys(tmp_path, "other")[1])


@pytest.mark.parametrize("length", [0, 1, 63, 65, 100_000])
def test_a_signature_of_another_length_is_refused(own_bundle: Path, tmp_path: Path, length: int) -> None:
    private, public = write_keys(tmp_path)
    signed(own_bundle, private)
    signature = (own_bundle / "bundle.json.sig").read_bytes()
    (own_bundle / "bundle.json.sig").write_bytes((signature * 2000)[:length])
    with pytest.raises(BundleError, match="found another"):
        Bundle.open(own_bundle, public)


def test_what_is_no_ed25519_key_is_named(own_bundle: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    signed(own_bundle, private)
    other = generate_private_key(SECP256R1()).public_key()
    (tmp_path / "ec.pem").write_bytes(other.public_bytes(Encoding, Public))
    for path in (tmp_path / "ec.pem", private, tmp_path / "absent", own_bundle / "gle.onnx"):
        with pytest.raises(GlesamError, match="expected an Ed25519 public key in PEM"):
            Bundle.open(own_bundle, path)
    result = CliRunner().invoke(sign.app, [str(own_bundle), "--key", str(public)])
    assert result.exit_code == 2
    assert "expected an Ed25519 private key in PEM" in result.output


def test_the_cpp_library_checks_signatures_with_the_same_words(own_bundle: Path, tmp_path: Path) -> None:
    if not native.LIBRARY.exists():
        pytest.skip("the C++ library is not built here")
    private, public = write_keys(tmp_path)

    def same_refusal(key: Path) -> str:
        messages = []
        for open_bundle in (Bundle.open, native.open_bundle):
            with pytest.raises(GlesamError) as caught:
                open_bundle(own_bundle, key)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
        return messages[0]

    assert "cannot read bundle.json.sig" in same_refusal(public)
    signed(own_bundle, private)
    native.open_bundle(own_bundle, public)
    assert "found another" in same_refusal(write_keys(tmp_path, "other")[1])
    for path in (private, tmp_path / "absent", own_bundle / "gle.onnx"):
        assert "expected an Ed25519 public key" in same_refusal(path)
    write_manifest(own_bundle, manifest(own_bundle) | {"gamma": 3.0})
    assert "found another" in same_refusal(public)


def test_a_command_takes_the_key(own_bundle: Path, tmp_path: Path) -> None:
    _, public = write_keys(tmp_path)
    result = CliRunner().invoke(verify.app, [str(own_bundle)], env={"GLESAM_PUBLIC_KEY": str(public)})
    assert result.exit_code == 2
    assert "cannot read bundle.json.sig" in result.output


def test_without_a_key_cryptography_is_not_imported(bundle_path: Path) -> None:
    code = (
        "import sys; from glesam_runtime import Bundle; Bundle.open(sys.argv[1]); "
        "print('cryptography' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bundle_path)], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
