"""What a person can ask for when a folder is packed, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
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
        file: a metadata file to read instead of the folder's `model.yaml`.
        name: the model's name.
        version: the model's version.
        license: an SPDX expression.
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


NO_TYPE: Final = "none"
"""What stands for no artifactType at all."""

DEFAULTS: Final = Options()
"""Everything from the files."""


@dataclass(frozen=True, slots=True)
class CustomConfig:
    """A config blob that somebody brought along."""

    content: bytes
    media_type: str


def metadata_path(folder: Path, options: Options) -> Path | None:
    """The metadata file to read: the one named, or the folder's own; None without either.

    Raises:
        InputError: the one named is not there.
    """
    if options.file is not None:
        if not options.file.exists():
            raise InputError(f"there is no metadata file {options.file}")
        return options.file
    path = folder / metadata.FILE_NAME
    return path if path.is_file() else None


def read_metadata(path: Path | None, options: Options) -> metadata.Metadata:
    """What the metadata file says.

    Raises:
        InputError: it can't be used as it is.
    """
    if path is None:
        return metadata.Metadata()
    try:
        return metadata.read(path)
    except InputError as error:
        if options.file is not None:
            raise
        other = "if it is not meant for ocimlpack, --file /dev/null packs it like any other file"
        hint = f"{error.hint}; {other}" if error.hint else other
        raise InputError(error.message, hint=hint) from error


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
