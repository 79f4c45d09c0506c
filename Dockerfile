FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000
WORKDIR /app

COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt

COPY pyproject.toml README.md LICENSE gunicorn.conf.py ./
COPY domain domain
COPY projections projections
COPY api api
COPY service service
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && useradd --system --no-create-home campaign-analytics
USER campaign-analytics

EXPOSE 8000
# The embedded PostgreSQL is for trying things out: a container without a database of its own would lose its facts.
ENTRYPOINT ["sh", "-c", "[ -n \"$DATABASE_URL\" ] || { echo 'DATABASE_URL: is not set' >&2; exit 2; }; exec campaign-analytics \"$@\"", "campaign-analytics"]
CMD ["serve"]
