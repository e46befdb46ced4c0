"""What a person can ask for when a folder is packed, checked before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from ocimlpack.errors import InputError
from ocimlpack.model import metadata
from ocimlpack.spec import mediatypes
from ocimlpack.spec.descriptor import Platform, is_media_type
from ocimlpack.spec.manifest import MAX_SIZE

Form = Literal["modelpack", "image", "both"]
"""What a model is written as: an artifact, an image, or an index with both."""

FORMS: Final[tuple[Form, ...]] = get_args(Form)


@dataclass(frozen=True, slots=True)
class Options:
    """How a folder becomes an artifact; the defaults take everything from its files.

    Attributes:
        file: a metadata file to read instead of the folder's own: a `model.yaml`, a Kitfile or a
            Modelfile.
        name: the model's name.
        version: the model's version.
        license: an SPDX expression.
        base: the location of the model that this one was made from.
        annotations: annotations of the manifest.
        include: glob patterns; only files that match one are packed.
        exclude: glob patterns; files that match one are left out.
        artifact_type: the manifest's artifactType; `none` for none.
        config: `FILE:MEDIATYPE`, the config blob of a custom artifact.
        created: an RFC 3339 time to record.
        dereference: pack what a link points to, also outside the folder.
        image_config: write the config as that of a container image.
        form: what the model is written as.
        platforms: what an image is for, such as `linux/arm64`.
    """

    file: Path | None = None
    name: str | None = None
    version: str | None = None
    license: str | None = None
    base: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    artifact_type: str | None = None
    config: str | None = None
    created: str | None = None
    dereference: bool = False
    image_config: bool = False
    form: Form = "modelpack"
    platforms: tuple[str, ...] = ()


_NOT_OURS: Final = "if it is not meant for ocimlpack, --file /dev/null packs it like any other file"

NO_TYPE: Final = "none"
"""What stands for no artifactType at all."""

DEFAULTS: Final = Options()
"""Everything from the files."""


@dataclass(frozen=True, slots=True)
class CustomConfig:
    """A config blob that somebody brought along."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of a model in a file.

    Attributes:
        about: what it says.
        path: the file, which is not packed itself; None if nothing was read as metadata.
        notes: what a person should know.
    """

    about: metadata.Metadata = metadata.NOTHING
    path: str | None = None
    notes: tuple[str, ...] = ()


def named_metadata(path: Path) -> Said:
    """What the metadata file says that a person has named.

    Raises:
        InputError: it is not there, or can't be used as it is.
    """
    if not path.exists():
        raise InputError(f"there is no metadata file {path}")
    about = metadata.read(path)
    if about.foreign:
        raise InputError(
            f"{path} can't stand for a model.yaml: {about.foreign}",
            hint="without --file it is packed like any other file",
        )
    return Said(about, str(path), about.notes)


def found_metadata(look: Callable[[str], bytes | None], place: Path) -> Said:
    """What the metadata file says that lies beside the model's files, if one does.

    Args:
        look: the content of a file there by its name, up to one byte more than such a file may
            have; None where there is none.
        place: the folder, for messages.

    Raises:
        InputError: it can't be used as it is.
    """
    notes: tuple[str, ...] = ()
    for name in (metadata.FILE_NAME, *metadata.RECIPES):
        raw = look(name)
        if raw is None:
            continue
        try:
            about = metadata.parse(place / name, raw)
        except InputError as error:
            hint = f"{error.hint}; {_NOT_OURS}" if error.hint else _NOT_OURS
            raise InputError(error.message, hint=hint) from error
        if about.foreign:
            notes += (f"{name} is packed like any other file: {about.foreign}",)
            continue
        if name != metadata.FILE_NAME:
            used = f"{name} is read in place of a {metadata.FILE_NAME}, and not packed itself"
            notes += (f"{used}; with --file /dev/null it is a file like any other",)
        return Said(about, name, (*notes, *about.notes))
    return Said(notes=notes)


def _reading(folder: Path) -> Callable[[str], bytes | None]:
    def look(name: str) -> bytes | None:
        path = folder / name
        if not path.is_file():
            return None
        try:
            with path.open("rb") as stream:
                return stream.read(metadata.MAX_SIZE + 1)
        except OSError as error:
            raise InputError(f"can't read {path}: {error.strerror}") from error

    return look


def read_metadata(folder: Path, options: Options) -> tuple[Said, Path | None]:
    """What the metadata file of a folder says, and the file, which is not packed itself.

    Raises:
        InputError: it can't be used as it is.
    """
    if options.file is not None:
        said = named_metadata(options.file)
        return said, options.file
    said = found_metadata(_reading(folder), folder)
    return said, folder / said.path if said.path else None


def platforms(options: Options) -> tuple[Platform, ...]:
    """What an image is for; empty where none is written.

    Raises:
        InputError: one is no platform, or options that exclude each other.
    """
    given = {
        "--config": options.config,
        "--artifact-type": options.artifact_type,
        "--image-config": options.image_config,
    }
    found = platforms_of(options.form, options.platforms)
    for name, value in given.items():
        if value and found:
            raise InputError(f"{name} is for artifacts, and does not go with an image")
    return found


def platforms_of(form: Form, given: tuple[str, ...]) -> tuple[Platform, ...]:
    """What an image is for, unless the format is an artifact's.

    Raises:
        InputError: no such format, a platform that is none, or one for what is no image.
    """
    if form not in FORMS:
        raise InputError(f"the format is {form!r:.40}; it takes {', '.join(FORMS)}")
    if form == "modelpack":
        if given:
            raise InputError("a platform is for an image: add --format image")
        return ()
    from ocimlpack.model.image import parse_platforms  # late: most models are no images

    return parse_platforms(given)


def artifact_type(options: Options) -> str | None:
    """The manifest's artifactType, or None for none.

    Raises:
        InputError: no media type.
    """
    if options.artifact_type is None:
        # Without an artifactType, the config's media type says what the artifact is:
        # https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidelines-for-artifact-usage
        return None if options.config is not None else mediatypes.MODEL_MANIFEST
    if options.artifact_type == NO_TYPE:
        return None
    if not is_media_type(options.artifact_type):
        raise InputError(
            f"not a media type: {options.artifact_type!r:.100} (expected one like "
            "application/vnd.example.model.v1)"
        )
    return options.artifact_type


def custom_config(options: Options) -> CustomConfig | None:
    """The config blob that `FILE:MEDIATYPE` names, or None for none.

    Raises:
        InputError: it is not of that form, or the file can't be used.
    """
    if options.config is None:
        return None
    if options.image_config:
        raise InputError("--config and --image-config are two ways to write one config")
    name, _, media_type = options.config.rpartition(":")
    if not name or not is_media_type(media_type):
        raise InputError(
            f"not a config: {options.config!r:.120} (expected FILE:MEDIATYPE, such as "
            "config.json:application/vnd.example.config.v1+json)"
        )
    if media_type == mediatypes.OCI_EMPTY and options.artifact_type in {None, NO_TYPE}:
        # Where manifest.md of the image specification says MUST.
        raise InputError("a config of the empty type needs --artifact-type")
    path = Path(name)
    try:
        if not path.is_file():
            raise InputError(f"there is no config file {path}")
        with path.open("rb") as stream:
            content = stream.read(MAX_SIZE + 1)
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    if len(content) > MAX_SIZE:
        raise InputError(f"{path} is larger than the {MAX_SIZE:,} bytes that a config may have")
    return CustomConfig(content, media_type)
