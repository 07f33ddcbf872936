# Two images (docs/containers.md):
#
#     docker build --tag plumbline-rag .                                servers and workers
#     docker build --build-arg DEVICE=cuda --tag plumbline-rag:cuda .   the same, with vLLM on CUDA
#
# BASE can be pinned: --build-arg BASE=debian:bookworm-slim@sha256:…
ARG BASE=debian:bookworm-slim
ARG DEVICE=cpu

# Debian's packages get only security fixes: a version that is named here would soon be gone.
# hadolint global ignore=DL3008
FROM ${BASE} AS cpu
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 tesseract-ocr-eng tini \
    && rm -rf /var/lib/apt/lists/*

# Triton compiles the kernels of a model when it is loaded. torch's wheels bring the rest of CUDA.
FROM cpu AS cuda
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# pip and setuptools stay in this stage.
FROM cpu AS build
ARG DEVICE
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY deploy/image/requirements-build.txt deploy/image/requirements-${DEVICE}.txt ./
RUN python3 -m venv /build \
    && python3 -m venv --without-pip /opt/plumbline \
    && /build/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
        --requirement requirements-build.txt \
    && /build/bin/pip --python /opt/plumbline/bin/python install --no-cache-dir --no-deps \
        --only-binary :all: --require-hashes --requirement requirements-${DEVICE}.txt
COPY pyproject.toml README.md LICENSE ./
COPY rag rag
COPY ingest ingest
COPY retrieval retrieval
COPY generation generation
COPY eval eval
COPY workers workers
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /build/bin/pip --python /opt/plumbline/bin/python install --no-cache-dir --no-deps \
        --no-index /wheels/*.whl

FROM ${DEVICE} AS plumbline
LABEL org.opencontainers.image.title="Plumbline" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 1000 --no-create-home --home-dir /data plumbline \
    && install --directory --owner plumbline --group plumbline /data
COPY --from=build /opt/plumbline /opt/plumbline
COPY profiles /app/profiles
WORKDIR /app
USER 1000:1000
VOLUME /data
# Everything that is written besides /tmp is in /data: HOME has the caches of models.
ENV HOME=/data MALLOC_ARENA_MAX=2 PATH=/opt/plumbline/bin:$PATH PYTHONUNBUFFERED=1 \
    RAG_CONFIG=/app/profiles/cluster.toml
EXPOSE 8000 9100
HEALTHCHECK --interval=10s --timeout=5s --start-period=2m CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# An init: it removes ended processes whose parents have ended before them.
ENTRYPOINT ["tini", "--", "rag"]
CMD ["serve"]
