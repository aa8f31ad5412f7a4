"""The documents that a hawkBit server sends, as far as a device needs them; what it sends beside that is passed over.

Shapes and values as in ``hawkbit-ddi-api``: ``DdiControllerBase``, ``DdiDeploymentBase``, ``DdiConfirmationBaseAction``
and ``DdiCancel``.
"""

from __future__ import annotations

import re
import string
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from tinsmith.runtime.fields import Fields

__all__ = [
    "Artifact",
    "Deployment",
    "Poll",
    "action_of",
    "read_cancel",
    "read_deployment",
    "read_poll",
    "without_query",
]

_SLEEP = re.compile(r"(\d{1,4}):([0-5]\d):([0-5]\d)")
_ACTION = re.compile(r"[\w-]{1,64}", re.ASCII)
_LEAST_SLEEP_S, _MOST_SLEEP_S = 5.0, 86_400.0
_HANDLING = ("skip", "attempt", "forced")
_MOST_CHUNKS = 100
_HINT = "a distribution set for tinsmith has one software module, and that one artifact: a .tin bundle"
# the names that hawkBit gives to addresses of an artifact unless somebody configures others
_USUAL_LINKS = ("download", "download-http")


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """What the server wants, by links; empty for what it doesn't. At most one of the first three is there.

    Attributes:
        deployment: The action to carry out.
        cancel: The action to stop.
        confirmation: The action that waits to be confirmed by the device.
        config_data: Where to send what the device is.
        sleep_s: Until the next poll, from 5 to 86,400; None where the server does not say.
    """

    deployment: str
    cancel: str
    confirmation: str
    config_data: str
    sleep_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A bundle to be downloaded.

    Attributes:
        link: Where it is.
        sha256: Of its content.
        size_bytes: From 1 on.
        said: Its software module and version, for people.
    """

    link: str
    sha256: str
    size_bytes: int
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What to do, and when.

    Attributes:
        artifact: The bundle.
        download: Whether it may be downloaded now.
        update: Whether it may be installed now; not outside of a maintenance window, and never where it shall only be
            downloaded.
    """

    artifact: Artifact
    download: bool
    update: bool


def read_poll(fields: Fields) -> Poll:
    """Read the resource of the device; raises ``DataError`` where it is none."""
    links = fields.table("_links") if "_links" in fields else None
    names = ("deploymentBase", "cancelAction", "confirmationBase", "configData")
    deployment, cancel, confirmation, config_data = ("" if links is None else _href(links, name) for name in names)
    return Poll(
        deployment=deployment,
        cancel=cancel,
        confirmation=confirmation,
        config_data=config_data,
        sleep_s=_sleep_s(fields),
    )


def action_of(link: str) -> str:
    """The id of an action, by its link: the last part of the path; raises ``DataError`` where that is none."""
    name = urllib.parse.urlsplit(link).path.rpartition("/")[2]
    if not _ACTION.fullmatch(name):
        raise DataError(f"the server's link names no action: {link[:200]}", hint="ask its administrator")
    return name


def without_query(link: str) -> str:
    """A link without what marks the state of an action, which its feedback channel lacks."""
    return urllib.parse.urlunsplit((*urllib.parse.urlsplit(link)[:3], "", ""))


def read_cancel(fields: Fields) -> str:
    """The id of the action that shall be stopped."""
    return fields.table("cancelAction").text("stopId")


def read_deployment(fields: Fields) -> Deployment:
    """Read a deployment, or what is to be confirmed, which has the same form.

    Raises:
        DataError: It is not one bundle with a sha256.
    """
    table = fields.table("deployment" if "deployment" in fields else "confirmation")
    handled = {key: table.one_of(key, _HANDLING) if key in table else "attempt" for key in ("download", "update")}
    free = table.null("maintenanceWindow") or "maintenanceWindow" not in table
    window = "available" if free else table.text("maintenanceWindow")
    return Deployment(
        artifact=_artifact(table),
        download=handled["download"] != "skip",
        update=handled["update"] != "skip" and window == "available",
    )


def _artifact(table: Fields) -> Artifact:
    chunks = table.many("chunks")
    if len(chunks) != 1:
        raise DataError(f"the deployment has {len(chunks)} software modules, and must have one", hint=_HINT)
    said = f"{chunks[0].text('name')[:100]} {chunks[0].text('version')[:50]}"
    artifacts = chunks[0].many("artifacts")
    if len(artifacts) != 1:
        raise DataError(f"the software module {said} has {len(artifacts)} artifacts, and must have one", hint=_HINT)
    (artifact,) = artifacts
    name = artifact.text("filename")
    if not name.endswith(".tin"):
        raise DataError(f"the artifact {name[:100]!r} of {said} is no .tin bundle", hint=_HINT)
    return Artifact(
        link=_download_link(artifact.table("_links")),
        sha256=artifact.table("hashes").sha256("sha256"),
        size_bytes=artifact.count("size"),
        said=said,
    )


def _download_link(links: Fields) -> str:
    """Administrators may give links other names; those to a checksum always have it in theirs."""
    others = sorted(name for name in links.each(lambda _, key: key) if "md5" not in name.lower())
    for name in (*_USUAL_LINKS, *others):
        if name in links and (href := _href(links, name)):
            return href
    raise DataError("the artifact has no link to download it by", hint="see hawkbit.artifact.url of the server")


def _href(links: Fields, name: str) -> str:
    """A link that can be asked for; empty where there is none."""
    if name not in links:
        return ""
    href = urllib.parse.quote(links.table(name).text("href"), safe=string.punctuation)
    try:
        urllib.parse.urlsplit(href)
    except ValueError:
        raise links.wrong(f"holds a link that is none: {href[:200]}") from None
    return href


def _sleep_s(fields: Fields) -> float | None:
    """``$.config.polling.sleep``, as HH:MM:SS."""
    table = fields
    for key in ("config", "polling"):
        if key not in table:
            return None
        table = table.table(key)
    found = _SLEEP.fullmatch(table.text("sleep", default="none"))
    if found is None:
        return None
    hours, minutes, seconds = map(int, found.groups())
    return min(max(hours * 3600.0 + minutes * 60 + seconds, _LEAST_SLEEP_S), _MOST_SLEEP_S)
