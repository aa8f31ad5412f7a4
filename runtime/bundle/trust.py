"""Whose bundles are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.bundle.minisign import Signature, key_name
from tinsmith.runtime.errors import VerificationError

if TYPE_CHECKING:
    from tinsmith.runtime.bundle.minisign import PublicKey

__all__ = ["AllowUnsigned", "Trust", "TrustedKeys", "check_trust"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKeys:
    """Bundles that one of these keys has signed.

    Attributes:
        keys: At least one.
    """

    keys: tuple[PublicKey, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("nobody is trusted: give a key, or AllowUnsigned")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowUnsigned:
    """Any bundle that is whole, whoever made it; a signature is not looked at."""


Trust = TrustedKeys | AllowUnsigned


def check_trust(manifest: bytes, signature: bytes | None, trust: Trust) -> PublicKey | None:
    """Hold a manifest against who is trusted.

    Returns:
        The key that signed it; None where unsigned ones are allowed.

    Raises:
        VerificationError: It is not signed, by a key that is not trusted, or was changed since.
    """
    if isinstance(trust, AllowUnsigned):
        return None
    if signature is None:
        raise VerificationError(
            "the bundle is not signed", hint="sign it: tinsmith bundle ... --key NAME.key; or allow unsigned bundles"
        )
    found = Signature.from_bytes(signature)
    trusted = [key for key in trust.keys if key.id == found.key_id]
    if not trusted:
        known = ", ".join(key_name(key.id) for key in trust.keys)
        raise VerificationError(
            f"the bundle is signed by the key {key_name(found.key_id)}, and trusted is {known}",
            hint="trust its key where you know whose it is, or get a bundle that a trusted key has signed",
        )
    for key in trusted[1:]:
        if key != trusted[0]:
            raise VerificationError(f"two trusted keys are both called {key_name(key.id)}", hint="drop one of them")
    found.verify(manifest, trusted[0])
    return trusted[0]
