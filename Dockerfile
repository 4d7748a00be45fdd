# The build stage has pip and hatchling; the image people run has Python, one virtual environment
# and the example rules. Works with any builder: nothing here needs BuildKit.
#
# The base is pinned by tag, so that a rebuild brings Debian's and Python's security fixes. To pin
# a build to the byte: docker build --build-arg PYTHON_IMAGE=python@sha256:... .
ARG PYTHON_IMAGE=python:3.13-slim-trixie


FROM ${PYTHON_IMAGE} AS build

# Only for those who build behind a mirror; unset, pip asks where it always asks.
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /build

# Dependencies first: this layer changes with the lock file only. On amd64 every package is a wheel;
# on arm64 faust-streaming comes from its source archive (same lock, same hashes) and, as there is
# no compiler here, without its optional C extensions.
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/comeback \
 && pip --python /opt/comeback/bin/python install --require-hashes --no-deps --compile \
        -r requirements.lock

# hatchling and the four packages it needs, at the versions and hashes the tests ran with.
COPY requirements-dev.lock ./
RUN awk '/^[a-z]/ { wanted = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/ } wanted' \
        requirements-dev.lock > requirements-build.lock \
 && python -m venv --without-pip /build/tools \
 && pip --python /build/tools/bin/python install --require-hashes --no-deps \
        -r requirements-build.lock

COPY pyproject.toml README.md LICENSE ./
COPY worker ./worker
RUN /build/tools/bin/hatchling build -t wheel -d dist \
 && pip --python /opt/comeback/bin/python install --no-index --no-deps --compile dist/*.whl


FROM ${PYTHON_IMAGE}

# A number, so that Kubernetes can see that it is not root; a name, so that libraries that ask who
# they are get an answer. /state is no VOLUME: an anonymous volume would hide that nobody mounted
# one, and the state would be gone with the container after all.
RUN groupadd --gid 10001 comeback \
 && useradd --uid 10001 --gid comeback --no-create-home --home-dir /state \
        --shell /usr/sbin/nologin comeback \
 && install -d -o comeback -g comeback -m 0750 /state

# The same path as in the build stage: a virtual environment holds its own path.
COPY --from=build /opt/comeback /opt/comeback
# Examples in shadow mode, replaced by mounting your own folder over them.
COPY rules /rules

ENV PATH=/opt/comeback/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    COMEBACK_STATE=/state/comeback.db \
    COMEBACK_RULES=/rules

WORKDIR /state
USER 10001:10001
EXPOSE 9464
STOPSIGNAL SIGTERM

# ECS and compose ask this; Kubernetes has probes of its own (/-/healthy, /-/ready).
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["comeback", "health"]

ENTRYPOINT ["comeback"]
CMD ["run"]

# Last, because they change with every build.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="comeback" \
      org.opencontainers.image.description="Brings quiet users back, from push to e-mail to SMS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
