# The HTTP parser in C has no wheel, so it is built where there is a compiler.
FROM python:3.11-slim AS built
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY requirements-fast.txt .
RUN pip wheel --no-cache-dir --require-hashes --requirement requirements-fast.txt --wheel-dir /wheels

FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000
WORKDIR /app

COPY --from=built /wheels /wheels
RUN pip install --no-cache-dir --no-index /wheels/*.whl && rm -r /wheels

COPY pyproject.toml README.md LICENSE gunicorn.conf.py ./
COPY domain domain
COPY connectors connectors
COPY projections projections
COPY api api
COPY page page
COPY service service
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && useradd --system --no-create-home campaign-analytics
USER campaign-analytics

EXPOSE 8000
# The embedded PostgreSQL is for trying things out: a container without a database of its own would lose its facts.
ENTRYPOINT ["sh", "-c", "[ -n \"$DATABASE_URL\" ] || { echo 'DATABASE_URL: is not set' >&2; exit 2; }; exec campaign-analytics \"$@\"", "campaign-analytics"]
CMD ["serve"]
