"""Arguments that many functions share, as typed keyword arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from ocimlpack.progress import Reporter
from ocimlpack.stores.settings import FallbackMode

if TYPE_CHECKING:
    from ocimlpack.model.options import Form

StrPath = str | os.PathLike[str]


class Oracle(TypedDict, total=False):
    """Who one is at Oracle Cloud. It concerns Oracle's registry and services alone.

    Attributes:
        auth: `auto`, `api_key`, `security_token`, `instance_principal`, `resource_principal`,
            `oke_workload_identity` or `token_exchange`; default is $OCI_CLI_AUTH, the configuration
            file's, or what there is.
        profile: a profile of `~/.oci/config`; default is $OCI_CLI_PROFILE.
        region: a region's key or identifier; default is the profile's.
        compartment: the OCID of the compartment in which a repository is made before the first push
            to it; default is $OCIMLPACK_COMPARTMENT or the configuration file's. Without any,
            the registry makes it in the root compartment, or refuses.
        immutable: make it so that its tags can't be moved.
    """

    auth: str | None
    profile: str | None
    region: str | None
    compartment: str | None
    immutable: bool


class Connection(Oracle, total=False):
    """How the other side is reached, and how much is done at a time.

    Attributes:
        plain_http: speak http; None (the default) means only to loopback hosts.
        insecure: do not verify TLS certificates.
        ca_file: a PEM file of certificate authorities to trust instead of the system's.
        mirrors: addresses of mirrors that are asked, in this order, before the registry that
            something is read from: `http[s]://HOST[:PORT][/PREFIX]`. They come before those of the
            configuration file.
        fallback: a location, without a tag, where to turn when the registry fails; default is the
            configuration file's.
        fallback_mode: `on-failure`, or `mirror` to push to both.
        patience: seconds for which a request that fails is tried again (default 120).
        jobs: how many files are moved or hashed at a time (default 4).
        report: called with progress events, from any thread.
    """

    plain_http: bool | None
    insecure: bool
    ca_file: StrPath | None
    mirrors: Sequence[str]
    fallback: str | None
    fallback_mode: FallbackMode | None
    patience: float
    jobs: int
    report: Reporter


class Describing(TypedDict, total=False):
    """How a model's files become an artifact, wherever they are.

    Attributes:
        file: a `model.yaml`, or a Kitfile or modctl's Modelfile in its place: it overrides what is
            detected, and may say which files are packed; default is the one in the folder.
        name: the model's name.
        version: the model's version.
        license: an SPDX expression.
        base: the location of the model that this one was made from. Its digest is recorded, and its
            name if others can know it: that of a place in a registry or a bucket. With a digest in
            it, nothing is asked for.
        annotations: annotations of the manifest.
        include: glob patterns; only files that match one are packed.
        exclude: glob patterns; files that match one are left out.
        artifact_type: the manifest's artifactType, for a custom artifact; `none` for none.
        config: `FILE:MEDIATYPE`, the config blob of a custom artifact.
        created: an RFC 3339 time to record; default is SOURCE_DATE_EPOCH, and without that no time.
        image_config: write the config as that of a container image, for registries that take no
            other.
        format: what the model is written as: `modelpack` (the default), `image`, or `both`, an
            index that lists the one and the other.
        platforms: what an image is for, such as `linux/arm64`; default is both that clusters have.
    """

    file: StrPath | None
    name: str | None
    version: str | None
    license: str | None
    base: str | None
    annotations: Mapping[str, str]
    include: Sequence[str]
    exclude: Sequence[str]
    artifact_type: str | None
    config: str | None
    created: str | None
    image_config: bool
    format: Form | None
    platforms: Sequence[str]
    image_base: str | None


class Packing(Describing, total=False):
    """How a folder becomes an artifact.

    Attributes:
        dereference: pack what a link points to, also outside the folder.
        image_base: the location of a container image that an image is put on, for servers that run
            it instead of mounting it.
        rehash: read every file, also those that are unchanged since they were packed before.
    """

    dereference: bool
    rehash: bool


class Moving(Packing, Connection, total=False):
    """Both: for what packs a folder and sends it somewhere."""


class Importing(Describing, Connection, total=False):
    """The same for what takes a model's files from somewhere else."""
