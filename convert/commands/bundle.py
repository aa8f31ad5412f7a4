"""``tinsmith bundle``."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click import get_current_context
from click.core import ParameterSource

from tinsmith.convert.commands.bundle_view import bundled_view, keys_view, shown_document, shown_view
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import facts, print_result
from tinsmith.runtime.errors import DataError, UsageError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.runtime.bundle.manifest import Promise
    from tinsmith.runtime.bundle.secret_key import SecretKey
    from tinsmith.runtime.postprocessing import Postprocessing

__all__ = ["bundle"]

_FILE = click.Path(path_type=Path)
_PROMISE = re.compile(r"(p50|p90)=(\d+(?:\.\d+)?)(ms|s)")
_POSTPROCESS_HINT = """such as --postprocess '[{"kind": "softmax"}, {"kind": "top-k", "k": 3}]'"""
logger = logging.getLogger(__name__)

_NOT_FOR_MAKING = {"trust", "new_key", "new_encryption_key"}
_MS = {"ms": 1.0, "s": 1000.0}


@click.command()
@click.argument("artifact", type=_FILE, required=False)
@click.option("-o", "--output", type=_FILE, help="The bundle to write; ends in .tin.")
@options.data_option
@click.option("--name", help="What devices know it by; the output's name unless given.")
@click.option("--version", type=click.IntRange(1), help="One more than that of the bundle at --output unless given.")
@click.option(
    "-d",
    "--device",
    type=options.DEVICE_NAME,
    default="local",
    show_default=True,
    help="The device or profile that settles how it is run.",
)
@options.engine_option
@options.accelerator_option
@click.option("--threads", type=click.IntRange(1), help="CPU threads of a run; the profile's unless given.")
@click.option("--instances", type=click.IntRange(1), default=1, show_default=True, help="Runs at once.")
@click.option("--postprocess", help="What makes answers of outputs: JSON, or a file with it; chosen unless given.")
@click.option("--report", "reports", type=_FILE, multiple=True, help="JSON of `evaluate` or `benchmark` about it.")
@click.option("--score", "scores", multiple=True, metavar="NAME=VALUE", help="A metric to state, as accuracy=0.91.")
@click.option("--promise", "promises", multiple=True, metavar="p90=12ms", help="A latency to state: p50 or p90.")
@click.option("--golden", type=click.IntRange(1), default=8, show_default=True, help="Samples whose answers are kept.")
@click.option("--key", type=_FILE, help="Sign with this secret key, of --new-key or of `minisign -G`.")
@click.option("--password-file", type=_FILE, help="The password of --key or --new-key, on its first line.")
@click.option("--encryption-key", type=_FILE, help="Encrypt the artifact with this key, which its device needs too.")
@click.option("--show", is_flag=True, help="Verify ARTIFACT, which is a bundle, and show what it holds.")
@click.option("--trust", multiple=True, metavar="KEY.pub", help="For --show: who must have signed it.")
@click.option("--new-key", type=_FILE, metavar="NAME", help="Make NAME.key to sign with, and NAME.pub to check with.")
@click.option("--new-encryption-key", type=_FILE, metavar="FILE", help="Make a key to encrypt artifacts with.")
@options.time_limit_option
@options.seed_option
@options.format_option
def bundle(*, show: bool, output_format: str, **options_: Any) -> None:
    """Put an artifact and all it needs on its device into one file.

    That is its preprocessing, labels and postprocessing, golden inputs with the answers that they must get, what its
    inputs look like, how it is run, and who says so. --show verifies such a file; --new-key and --new-encryption-key
    make keys, which are never overwritten.
    """
    given = _given()
    if show:
        _only(given, {"show", "artifact", "trust"})
        _show(_needed(options_["artifact"], "the bundle to show"), options_["trust"], output_format)
    elif "new_key" in given or "new_encryption_key" in given:
        _only(given, {"new_key", "new_encryption_key", "password_file"})
        _make_keys(options_["new_key"], options_["new_encryption_key"], options_["password_file"], output_format)
    else:
        _only(given, options_.keys() - _NOT_FOR_MAKING)
        _make(output_format, **{name: value for name, value in options_.items() if name not in _NOT_FOR_MAKING})


def _given() -> set[str]:
    """The parameters that the user has named himself, other than those that every command has."""
    context = get_current_context()
    named = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return named - {"output_format", "quiet", "verbose"}


def _only(given: set[str], allowed: set[str]) -> None:
    for name in sorted(given - allowed):
        raise UsageError(
            f"{name.replace('_', '-')} has nothing to do here",
            hint="making a bundle, --show, and making keys are three things; see `tinsmith bundle --help`",
        )


def _needed(path: Path | None, what: str) -> Path:
    if path is None:
        raise UsageError(f"name {what}", hint="see `tinsmith bundle --help`")
    return path


def _make(
    output_format: str,
    *,
    artifact: Path | None,
    output: Path | None,
    postprocess: str | None,
    scores: Sequence[str],
    promises: Sequence[str],
    key: Path | None,
    password_file: Path | None,
    encryption_key: Path | None,
    **settings: Any,
) -> None:
    from tinsmith.convert.bundling import bundle as make
    from tinsmith.runtime.bundle.encryption import load_encryption_key

    settings = {name: value for name, value in settings.items() if value is not None}
    made = make(
        _needed(artifact, "the artifact to put into the bundle"),
        _needed(output, "the bundle to write with --output"),
        postprocessing=None if postprocess is None else _postprocessing(postprocess),
        scores=dict(_score(said) for said in scores),
        promise=_promise(promises),
        signing_key=_signing_key(key, password_file),
        encryption_key=None if encryption_key is None else load_encryption_key(encryption_key),
        **settings,
    )
    print_result(output_format, {"bundle": made.to_json()}, bundled_view(made))


def _show(path: Path, trust: Sequence[str], output_format: str) -> None:
    from tinsmith.runtime.bundle.minisign import load_public_key
    from tinsmith.runtime.bundle.reading import open_bundle
    from tinsmith.runtime.bundle.trust import AllowUnsigned, TrustedKeys
    from tinsmith.runtime.files import sha256_of

    keys = tuple(load_public_key(reference) for reference in trust)
    with open_bundle(path, trust=TrustedKeys(keys=keys) if keys else AllowUnsigned()) as found:
        file_sha256 = sha256_of(path)
        document = shown_document(found, file_sha256)
        print_result(output_format, {"bundle": document}, shown_view(found, file_sha256))


def _make_keys(name: Path | None, encryption: Path | None, password_file: Path | None, output_format: str) -> None:
    from tinsmith.runtime.bundle.encryption import write_encryption_key
    from tinsmith.runtime.bundle.minisign import key_name
    from tinsmith.runtime.bundle.secret_key import new_secret_key, write_key_pair

    made: dict[str, str] = {}
    if name is not None:
        key = new_secret_key()
        secret, public = write_key_pair(name, key, password=_password(password_file))
        if password_file is None:
            logger.warning("%s has no password: whoever can read it can sign (--password-file gives it one)", secret)
        made |= {"secret_key": str(secret), "public_key": str(public), "id": key_name(key.id), "line": key.public.line}
    elif password_file is not None:
        raise UsageError("an encryption key has no password", hint="leave out --password-file")
    if encryption is not None:
        write_encryption_key(encryption)
        made["encryption_key"] = str(encryption)
    print_result(output_format, {"keys": made}, [facts(keys_view(made))])


def _signing_key(path: Path | None, password_file: Path | None) -> SecretKey | None:
    from tinsmith.runtime.bundle.secret_key import load_secret_key

    if path is None:
        if password_file is not None:
            raise UsageError("there is a password and no key", hint="name the key with --key")
        return None
    return load_secret_key(path, _password(password_file))


def _password(path: Path | None) -> str | None:
    from tinsmith.runtime.bundle.secret_key import read_password

    return None if path is None else read_password(path)


def _postprocessing(said: str) -> Postprocessing:
    from tinsmith.runtime.postprocessing import Postprocessing

    try:
        document = json.loads(said if said.lstrip()[:1] in ("[", "{") else Path(said).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the postprocessing {said}: {error.strerror}", hint="check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"the postprocessing is no JSON: {first_line(error)}", hint=_POSTPROCESS_HINT) from error
    if not isinstance(document, list):
        raise DataError("a postprocessing is a list of operations", hint=_POSTPROCESS_HINT)
    return Postprocessing.from_json(document)


def _score(said: str) -> tuple[str, float]:
    name, separator, value = said.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not name or not separator or number - number != 0:
        raise UsageError(f"--score {said} states no metric", hint="give a name and a number: --score accuracy=0.91")
    return name, number


def _promise(said: Sequence[str]) -> Promise:
    from tinsmith.runtime.bundle.manifest import Promise

    stated: dict[str, float] = {}
    for one in said:
        found = _PROMISE.fullmatch(one)
        if found is None or float(found[2]) == 0:
            raise UsageError(f"--promise {one} states no latency", hint="give p50 or p90: --promise p90=12ms")
        stated[f"{found[1]}_ms"] = float(found[2]) * _MS[found[3]]
    return Promise(**stated, source="stated" if stated else "")
