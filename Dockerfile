# The HTTP parser in C has no wheel, so it is built where there is a compiler; and so is ours, which needs no source then.
FROM python:3.11-slim AS built
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY requirements-fast.txt .
RUN pip wheel --no-cache-dir --require-hashes --requirement requirements-fast.txt --wheel-dir /wheels \
    && pip install --no-cache-dir --no-index /wheels/setuptools-*.whl
COPY pyproject.toml README.md LICENSE ./
COPY domain domain
COPY connectors connectors
COPY projections projections
COPY api api
COPY page page
COPY service service
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . && rm /wheels/setuptools-*.whl

FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000

RUN --mount=from=built,source=/wheels,target=/wheels pip install --no-cache-dir --no-index --no-deps /wheels/*.whl \
    && useradd --system --no-create-home campaign-analytics
USER campaign-analytics

EXPOSE 8000
# No embedded PostgreSQL is in it: a container without a database of its own would lose its facts. `serve` says so.
ENTRYPOINT ["campaign-analytics"]
CMD ["serve"]
