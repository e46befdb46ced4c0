"""Media types and annotation keys, each with the specification that defines it."""

from __future__ import annotations

from typing import Final, Literal, get_args

# https://github.com/opencontainers/image-spec/blob/v1.1.1/media-types.md
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYER_PREFIX: Final = "application/vnd.oci.image.layer.v1."
OCI_LAYER: Final = f"{OCI_LAYER_PREFIX}tar"

# https://distribution.github.io/distribution/spec/manifest-v2-2/
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"

# Ollama's list of one model in several forms.
OLLAMA_LIST: Final = "application/vnd.ollama.manifest.list.v2+json"

MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST, OLLAMA_LIST})

# https://github.com/modelpack/model-spec/blob/main/docs/spec.md
MODEL_MANIFEST: Final = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
MODEL_LAYER_PREFIX: Final = "application/vnd.cncf.model."
LEGACY_MODEL_LAYER_PREFIX: Final = "application/vnd.cnai.model."

Kind = Literal["weight", "weight.config", "code", "doc", "dataset"]
"""What a file of a model is for."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Encoding = Literal["raw", "tar", "tar+gzip", "tar+zstd"]
"""How a layer holds its files: the file's own bytes, or an archive."""

ENCODINGS: Final[tuple[Encoding, ...]] = get_args(Encoding)

# https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md
TITLE: Final = "org.opencontainers.image.title"
REF_NAME: Final = "org.opencontainers.image.ref.name"
# containerd's and Docker's archives have the whole name of an image here, and its tag in REF_NAME:
# https://github.com/containerd/containerd/blob/main/core/images/annotations.go
IMAGE_NAME: Final = "io.containerd.image.name"
CREATED: Final = "org.opencontainers.image.created"
BASE_NAME: Final = "org.opencontainers.image.base.name"
BASE_DIGEST: Final = "org.opencontainers.image.base.digest"

# https://github.com/modelpack/model-spec/blob/main/docs/annotations.md
FILEPATH: Final = "org.cncf.model.filepath"
FILE_METADATA: Final = "org.cncf.model.file.metadata+json"
LEGACY_FILEPATH: Final = "org.cnai.model.filepath"

# What images say of their layers beside that; docs/format.md has them.
KIND: Final = "ocimlpack.kind"
PATH: Final = "ocimlpack.path"

# oras marks a folder that it stored as an archive with this:
# https://oras.land/docs/how_to_guides/pushing_and_pulling
ORAS_UNPACK: Final = "io.deis.oras.content.unpack"


def is_manifest(media_type: str) -> bool:
    """Whether content of this type is a manifest or an index: it names further content."""
    return media_type in MANIFESTS or media_type in INDEXES


def model_layer(kind: Kind, encoding: Encoding = "raw") -> str:
    """The ModelPack media type of a layer."""
    return f"{MODEL_LAYER_PREFIX}{kind}.v1.{encoding}"


def parse_model_layer(media_type: str) -> tuple[Kind, Encoding] | None:
    """Kind and encoding of a ModelPack layer, also under its older prefix; None for other types."""
    for prefix in (MODEL_LAYER_PREFIX, LEGACY_MODEL_LAYER_PREFIX):
        if media_type.startswith(prefix):
            name, dot, ending = media_type.removeprefix(prefix).partition(".v1.")
            kind = next((each for each in KINDS if each == name), None)
            encoding = next((each for each in ENCODINGS if each == ending), None)
            if dot and kind and encoding:
                return kind, encoding
    return None
