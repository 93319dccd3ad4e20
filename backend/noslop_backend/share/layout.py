# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make and read every name and path of a project on the share, here and nowhere else. Pure.

Paths are relative to the project's directory, with forward slashes. Whatever a user typed becomes at most a slug in
front of an id that the server made, so no name can lead anywhere, hide, or meet another one.

    {project_id}/metadata.json
                 workflows/ prompts/
                 generated/{images,videos,audio,other}/
                 intermediate/{latents,masks,frames}/
                 final/
                 .staging/   files that are being written: <intent id>.<part>.part
                 .trash/     the same tree as above, of files that were put away

A file is `<slug>-<file id>.<extension>`, a version of a workflow or prompt `<slug>_v0003-<file id>.<extension>`; its
sidecar has `.meta.json` after that, and later ones `.meta.0002.json`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from anyascii import anyascii


class FileKind(StrEnum):
    """Hold what a file is; it decides the directory."""

    WORKFLOW = "workflow"
    PROMPT = "prompt"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    #: Meshes, vectors, layered images, texts, subtitles, and what is unknown.
    OTHER = "other"
    LATENT = "latent"
    MASK = "mask"
    FRAME = "frame"
    FINAL = "final"
    SIDECAR = "sidecar"


DOCUMENTS = frozenset({FileKind.WORKFLOW, FileKind.PROMPT})
GENERATED = frozenset({FileKind.IMAGE, FileKind.VIDEO, FileKind.AUDIO, FileKind.OTHER})
#: What can be decoded.
PLAYABLE = GENERATED - {FileKind.OTHER}
INTERMEDIATE = frozenset({FileKind.LATENT, FileKind.MASK, FileKind.FRAME})
#: What `media_count` counts.
MEDIA = GENERATED | {FileKind.FINAL}
#: Kinds whose rows are written beside them in a sidecar; an intermediate's name and id are all there is to know.
WITH_SIDECAR = DOCUMENTS | MEDIA

DIRECTORY: dict[FileKind, str] = {
    FileKind.WORKFLOW: "workflows",
    FileKind.PROMPT: "prompts",
    FileKind.IMAGE: "generated/images",
    FileKind.VIDEO: "generated/videos",
    FileKind.AUDIO: "generated/audio",
    FileKind.OTHER: "generated/other",
    FileKind.LATENT: "intermediate/latents",
    FileKind.MASK: "intermediate/masks",
    FileKind.FRAME: "intermediate/frames",
    FileKind.FINAL: "final",
}
METADATA = "metadata.json"
STAGING = ".staging"
TRASH = ".trash"
#: In the order in which they can be made.
DIRECTORIES = (
    *("workflows", "prompts", "generated", "generated/images", "generated/videos", "generated/audio"),
    *(
        "generated/other",
        "intermediate",
        "intermediate/latents",
        "intermediate/masks",
        "intermediate/frames",
        "final",
        STAGING,
        TRASH,
    ),
)
#: Made with the first file that lies there, in projects of versions that had no such kind.
ADDED_DIRECTORIES = frozenset({DIRECTORY[FileKind.OTHER]})
#: The marker that proves which share is mounted; it lies beside the projects.
MARKER = ".noslop-share"
SHARE = "projects"

TITLE_LIMIT = 200
#: Other extensions that say the same of a content as the one that paths have: such a name keeps its own.
EXTENSION_ALIASES: dict[str, frozenset[str]] = {
    "aiff": frozenset({"aif", "aifc"}),
    "heic": frozenset({"heif", "hif"}),
    "heif": frozenset({"heic", "hif"}),
    "jpg": frozenset({"jpe", "jpeg", "jfif"}),
    "m4a": frozenset({"m4b", "mp4", "f4a"}),
    "mkv": frozenset({"mk3d"}),
    "mov": frozenset({"qt"}),
    "mp4": frozenset({"m4v", "f4v"}),
    "ogg": frozenset({"oga", "spx"}),
    "ogv": frozenset({"ogg", "ogx"}),
    "opus": frozenset({"ogg", "oga"}),
    "png": frozenset({"apng"}),
    # Those of cameras are TIFF.
    "tif": frozenset({"tiff", "dng", "nef", "arw", "pef", "srw"}),
    "wav": frozenset({"wave"}),
}
FILE_ID_BYTES = 8
PROJECT_ID_BYTES = 5
_SLUG_LIMIT = 48
#: Crockford's base 32 in small letters: no letter that reads like a digit, and the same on file systems without case.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = f"[{_ALPHABET}]"
FILE_ID = re.compile(rf"{_ID}{{13}}", re.ASCII)
PROJECT_ID = re.compile(rf"[a-z0-9]+(?:-[a-z0-9]+)*-{_ID}{{8}}", re.ASCII)
INTENT_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SLUG = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?P<slug>{_SLUG})(?:_v(?P<version>[0-9]{{4,9}}))?-(?P<id>{_ID}{{13}})\.(?P<extension>[a-z0-9]{{1,12}})"
    r"(?P<sidecar>\.meta(?:\.(?P<revision>[0-9]{4,9}))?\.json)?",
    re.ASCII,
)
_STAGING_NAME = re.compile(r"(?P<intent>[0-9a-f]{32})\.(?P<part>[0-9]{1,4})\.part", re.ASCII)
_ID_IN_TEXT = re.compile(rf"-({_ID}{{13}})\.[a-z0-9]", re.ASCII | re.IGNORECASE)
#: What stands before the two digits of an escaped character: in JSON (with more backslashes in JSON within JSON), and
#: in addresses. Of bounded length, so that a text of backslashes takes no longer than another one.
_ESCAPE = r"(?:\\{1,16}u00|%(?:25){0,4})"
_ESCAPED = re.compile(rf"{_ESCAPE}([2-7][0-9a-f])", re.IGNORECASE)
_ESCAPED_ID_IN_TEXT = re.compile(
    rf"(?:-|{_ESCAPE}2d)((?:{_ID}|{_ESCAPE}[3-7][0-9a-f]){{13}})(?:\.|{_ESCAPE}2e)", re.ASCII | re.IGNORECASE
)
_BY_DIRECTORY = {directory: kind for kind, directory in DIRECTORY.items()}


@dataclass(frozen=True)
class ParsedPath:
    """Hold what a path says by itself, for rebuild and reconcile."""

    kind: FileKind
    file_id: str
    slug: str
    extension: str
    version: int | None = None
    #: For sidecars: which one beside its file (the first is 1), and the path of that file. Else 0 and "".
    revision: int = 0
    describes: str = ""
    trashed: bool = False


def encode_id(raw: bytes) -> str:
    """Write random bytes as an id: 8 bytes make the 13 characters of a file's, 5 the 8 of a project's."""
    number, length = int.from_bytes(raw, "big"), -(-len(raw) * 8 // 5)
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))


def title_problem(title: str) -> str:
    """Return why this cannot be a name that a user gives to something; empty when it can. It is data, never a path."""
    if not title.strip():
        return "a name is needed"
    if len(title) > TITLE_LIMIT:
        return f"a name has at most {TITLE_LIMIT} characters, this one {len(title)}"
    # Cc: controls and NUL; Cs: halves of surrogate pairs, which no UTF-8 can hold; Zl, Zp: line and paragraph
    # separators.
    if any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in title):
        return "a name has no control characters"
    return ""


def normalize_title(title: str) -> str:
    """Return a name as it is kept: in NFC, without spaces around it, and with single ones within."""
    return " ".join(unicodedata.normalize("NFC", title).split())


def title_key(title: str) -> str:
    """Return what two names share that are one to a person: it says nothing of spaces, case, and NFC or NFD."""
    return unicodedata.normalize("NFC", normalize_title(title).casefold())


def slug(title: str) -> str:
    """Make a name readable in a directory listing anywhere: small ASCII letters, digits and single dashes.

    Letters of other scripts are transliterated. They are not kept themselves: what a path is would then depend on how
    each system on its way composes letters (NFC, or NFD on macOS), compares them without case (Samba, Windows) and
    encodes them (zip), and three times the bytes would fit no limit.
    """
    return "-".join(re.findall(r"[a-z0-9]+", anyascii(title).lower()))[:_SLUG_LIMIT].strip("-") or "untitled"


def split_extension(name: str, extension: str) -> tuple[str, str]:
    """Split a name into its stem and what it says behind the last dot of `extension`, or of one that means the same.

    The second part is empty when the name says nothing of that. `photo.JPEG` and `jpg` give `photo` and `.JPEG`.
    """
    stem, dot, ending = name.rpartition(".")
    same = ending.lower() == extension or ending.lower() in EXTENSION_ALIASES.get(extension, ())
    return (stem, dot + ending) if dot and same else (name, "")


def project_id(title: str, raw: bytes) -> str:
    """Return the id of a new project, which is also its directory's name."""
    return f"{slug(title)}-{encode_id(raw)}"


def is_project_id(text: str) -> bool:
    """Return whether the server may have made this id."""
    return len(text) <= 80 and PROJECT_ID.fullmatch(text) is not None


def is_file_id(text: str) -> bool:
    """Return whether the server may have made this id (files and documents)."""
    return FILE_ID.fullmatch(text) is not None


def is_file_name(name: str) -> bool:
    """Return whether the server may have given this name to a file or a sidecar."""
    return _NAME.fullmatch(name) is not None


def path(kind: FileKind, title: str, file_id: str, extension: str, version: int | None = None) -> str:
    """Return the path of a new file.

    Raises:
        ValueError: an id or extension that this module would not read back.
    """
    number = "" if version is None else f"_v{version:04d}"
    stem, _ = split_extension(title, extension)
    made = f"{DIRECTORY[kind]}/{slug(stem)}{number}-{file_id}.{extension}"
    if parse(made) is None:
        raise ValueError(f"{made!r} is no path of the layout")
    return made


def renamed(relative: str, title: str, tag: str) -> str:
    """Return another path for the file at `relative`, in the same directory.

    Args:
        relative: of a file that is no version of a document and no sidecar.
        title: what it is called.
        tag: letters and digits that make the path another one than any before.

    Raises:
        ValueError: it is no path of the layout.
    """
    parsed = parse(relative)
    if parsed is None or parsed.version is not None or parsed.describes:
        raise ValueError(f"{relative!r} is no path of a file that can be renamed")
    stem, _ = split_extension(title, parsed.extension)
    short = slug(stem)[: _SLUG_LIMIT - len(tag) - 1].strip("-")
    return f"{DIRECTORY[parsed.kind]}/{short}-{tag}-{parsed.file_id}.{parsed.extension}"


def sidecar(of: str, revision: int = 1) -> str:
    """Return the path of the sidecar beside the file at `of`."""
    return f"{of}.meta.json" if revision == 1 else f"{of}.meta.{revision:04d}.json"


def staging(intent_id: str, part: int = 0) -> str:
    """Return the path of a part of a write until it is published."""
    if not INTENT_ID.fullmatch(intent_id) or part < 0:
        raise ValueError(f"{intent_id!r} is no intent's id")
    return f"{STAGING}/{intent_id}.{part}.part"


def staging_intent(name: str) -> str | None:
    """Return the id of the intent that a name in `.staging` belongs to; None for a name of another form."""
    match = _STAGING_NAME.fullmatch(name)
    return match["intent"] if match else None


def trash(visible: str) -> str:
    """Return where the file at a visible path lies while it is in the trash."""
    return f"{TRASH}/{visible}"


def parse(relative: str) -> ParsedPath | None:
    """Read a path of a project, in the trash or not; None for anything that the layout has no place for."""
    trashed = relative.startswith(f"{TRASH}/")
    visible = relative.removeprefix(f"{TRASH}/") if trashed else relative
    directory, _, name = visible.rpartition("/")
    kind, match = _BY_DIRECTORY.get(directory), _NAME.fullmatch(name)
    if kind is None or match is None or (match["version"] is not None) != (kind in DOCUMENTS):
        return None
    version = int(match["version"]) if match["version"] else None
    if not match["sidecar"]:
        return ParsedPath(kind, match["id"], match["slug"], match["extension"], version, trashed=trashed)
    describes = visible.removesuffix(match["sidecar"])
    revision = int(match["revision"] or 1)
    if sidecar(describes, revision) != visible or kind in INTERMEDIATE:
        return None
    return ParsedPath(
        FileKind.SIDECAR, match["id"], match["slug"], match["extension"], version, revision, describes, trashed
    )


def ids_in_text(text: str) -> set[str]:
    """Return the ids of files whose names a text mentions, wherever they stand in it.

    Names count in either case, with characters that JSON has escaped, and as they stand in addresses.
    """
    names = _ID_IN_TEXT.findall(text)
    if "\\u00" in text or "%" in text:
        escaped = _ESCAPED_ID_IN_TEXT.findall(text)
        names += (_ESCAPED.sub(lambda match: chr(int(match[1], 16)), name) for name in escaped)
    return {lowered for name in names if is_file_id(lowered := name.lower())}


def split(relative: str) -> tuple[str, ...]:
    """Split a relative path into its parts, each of them one plain name.

    Raises:
        ValueError: the path is absolute, empty, or has a part that leads elsewhere or cannot be a name.
    """
    parts = tuple(relative.split("/"))
    if any(
        part in {"", ".", ".."} or "\0" in part or len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts
    ):
        raise ValueError(f"{relative!r} is no path inside a project")
    return parts
