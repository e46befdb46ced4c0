# A small image of ocimlpack with Oracle's SDK: docker build -t ocimlpack .
# Replace the base image's tag by a digest where builds have to be the same next year.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY ocimlpack ocimlpack
COPY scripts/trim_sdk.py scripts/trim_sdk.py
RUN python -m venv --without-pip /opt/ocimlpack \
    && python -m pip --python /opt/ocimlpack/bin/python install \
        --no-cache-dir --no-compile --disable-pip-version-check '.[oci]' \
    # The SDK has some 180 services in 220 MB. The build fails if what is kept can't be imported any more.
    && /opt/ocimlpack/bin/python -B scripts/trim_sdk.py \
    # Unchecked: it counts whatever times the files get on their way into the image.
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/ocimlpack/lib \
    && mkdir /models

FROM ${PYTHON}
LABEL org.opencontainers.image.title="ocimlpack" \
      org.opencontainers.image.description="Machine-learning models as OCI artifacts: pack, push, pull by digest" \
      org.opencontainers.image.licenses="Apache-2.0"
# Official images bring the standard library uncompiled. With a read-only root each start would compile what it imports,
# which takes several times as long as the rest of it.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/(ensurepip|idlelib|site-packages|tests?|tkinter)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/ocimlpack /opt/ocimlpack
COPY --from=build --chown=65532:65532 /models /models
ENV PATH=/opt/ocimlpack/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    OCIMLPACK_HOME=/tmp/ocimlpack
USER 65532:65532
WORKDIR /models
ENTRYPOINT ["ocimlpack"]
CMD ["--help"]
