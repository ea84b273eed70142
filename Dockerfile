# Two images (docs/docker.md):
#
#   docker build -t edgec .                               the compiler, with all it needs to work without a network
#   docker build -t edgec-runtime --target runtime .      what artifacts run in: Python, numpy, an engine, edgec-device
#
# The base can be pinned: --build-arg BASE=debian@sha256:...
ARG BASE=debian:bookworm-slim


# What the build needs and the images must not keep: where packages come from, and whom to trust.
FROM ${BASE} AS provisions
ARG APT_MIRROR
COPY docker/provisions /provisions/
COPY docker/ca /provisions/ca/
RUN /provisions/prepare


FROM ${BASE} AS python
RUN --mount=type=bind,from=provisions,source=/provisions,target=/provisions \
    /provisions/install python3 libstdc++6


# Tools of the build. Nothing of them is in the images.
FROM python AS tools
RUN --mount=type=bind,from=provisions,source=/provisions,target=/provisions \
    mkdir -p /usr/local/share/ca-certificates \
    && find /provisions/ca -name '*.crt' -exec cp -t /usr/local/share/ca-certificates {} + \
    && /provisions/install ca-certificates mmdebstrap python3-venv qemu-user-static \
    && rm -rf /etc/apt/sources.list /etc/apt/sources.list.d \
    && cp -r /provisions/sources /etc/apt/sources.list.d
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/edgec


# Byte code is compiled here, as whoever runs the images can't write it, and is trusted without a look at its source.
FROM tools AS packages
ARG PIP_INDEX_URL
COPY docker/locks /src/docker/locks/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/edgec/bin/pip install --no-compile --require-hashes -r /src/docker/locks/edgec.lock
COPY pyproject.toml README.md LICENSE /src/
COPY targets /src/targets/
COPY calibration /src/calibration/
COPY edgec /src/edgec/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r /src/docker/locks/build.lock \
    && /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel /src \
    && /opt/edgec/bin/pip install --no-compile --no-deps --no-index /wheel/*.whl


# Python, numpy and an engine for each ARM architecture: what artifacts are executed with during a build.
FROM packages AS roots
ARG PIP_INDEX_URL
ENV EDGEC_ROOTS_DIR=/opt/edgec-roots
RUN --mount=type=bind,from=provisions,source=/provisions,target=/provisions \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/edgec/bin/edgec emulator setup --all


FROM packages AS compiler
# Zig brings the headers of many systems. No target runs any of these, and they are a quarter of it.
WORKDIR /opt/edgec/lib/python3.11/site-packages/ziglang/lib/libc
RUN test -d mingw && rm -rf mingw darwin wasi freebsd netbsd openbsd include/*windows* include/*darwin* include/*wasi* include/*bsd* \
    && /opt/edgec/bin/pip uninstall --yes pip setuptools \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/edgec/lib


FROM tools AS engine
ARG PIP_INDEX_URL
COPY docker/locks/runtime.lock /src/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/edgec/bin/pip install --no-compile --require-hashes --target /opt/engine -r /src/runtime.lock
# What no artifact uses: kernels for GPUs, compilers for accelerators, and tests.
WORKDIR /opt/engine
RUN rm -rf bin ai_edge_litert/tools ai_edge_litert/libLiteRtWebGpuAccelerator.so \
    && find . -type d -name tests -prune -exec rm -rf {} + \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/engine


# A device's agent, one file: it installs what is signed and fits, and takes back what fails.
FROM packages AS agent
WORKDIR /agent
RUN /opt/edgec/bin/edgec device-agent --output edgec-device


# A numbered user, with a name for the programs that ask for it; --user takes any other. Whom to trust over https.
FROM python AS unprivileged
RUN --mount=type=bind,from=provisions,source=/provisions,target=/provisions \
    /provisions/install ca-certificates \
    && useradd --uid 1000 --create-home --no-log-init edgec \
    && install -d -o 1000 -g 1000 /models \
    && rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-
WORKDIR /models


FROM unprivileged AS runtime
COPY --from=engine /opt/engine /opt/engine/
COPY --from=agent /agent/edgec-device /usr/local/bin/
RUN install -d -o 1000 -g 1000 /var/lib/edgec
USER 1000:1000
ENV PYTHONPATH=/opt/engine
# No HEALTHCHECK: an artifact's commands end by themselves. docs/docker.md has one for a service that builds on this image.
ENTRYPOINT ["python3"]
CMD ["--version"]
# Labels are last in either image, not in a stage below both: another revision then rebuilds nothing but them.
ARG VERSION=0.1.0
ARG SOURCE=unknown
ARG REVISION=unknown
ARG BASE
LABEL org.opencontainers.image.title="edgec-runtime" \
      org.opencontainers.image.description="Runs edgec's artifacts, and keeps them up to date: Python, numpy, the engine of TFLite artifacts" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"


FROM unprivileged AS edgec
COPY --from=tools /usr/bin/qemu-aarch64-static /usr/bin/qemu-arm-static /usr/bin/
COPY --from=tools /usr/share/doc/qemu-user-static/copyright /usr/share/doc/qemu-user-static/
COPY --from=roots /opt/edgec-roots /opt/edgec-roots/
COPY --from=compiler /opt/edgec /opt/edgec/
# What any user may write to: results of stages, and the home of one who has none here.
RUN install -d -m 1777 /var/cache/edgec /var/cache/home
USER 1000:1000
# /opt/edgetpu is where Google's compiler may be mounted: a folder with the program edgetpu_compiler.
ENV PATH=/opt/edgec/bin:/opt/edgetpu:/usr/local/bin:/usr/bin:/bin \
    HOME=/var/cache/home \
    EDGEC_CACHE_DIR=/var/cache/edgec \
    EDGEC_ROOTS_DIR=/opt/edgec-roots
# No HEALTHCHECK: a command that ends has an exit code, and nothing to be asked while it runs.
ENTRYPOINT ["edgec"]
CMD ["--help"]
ARG VERSION=0.1.0
ARG SOURCE=unknown
ARG REVISION=unknown
ARG BASE
LABEL org.opencontainers.image.title="edgec" \
      org.opencontainers.image.description="A compiler for edge deployment: ONNX in, verified INT8 artifacts out" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
