# Pinned by tag, since no digest could be looked up where this was written; `--build-arg PYTHON=python@sha256:…` pins by digest.
ARG PYTHON=python:3.11.14-slim-bookworm

# The HTTP parser in C has no wheel, so it is built where there is a compiler; and so is ours, which needs no source then.
FROM ${PYTHON} AS built
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
ARG REQUIREMENTS=requirements-fast.txt
COPY ${REQUIREMENTS} .
RUN pip wheel --no-cache-dir --require-hashes --requirement ${REQUIREMENTS} --wheel-dir /wheels \
    && pip install --no-cache-dir --no-index /wheels/setuptools-*.whl
COPY pyproject.toml README.md LICENSE ./
COPY domain domain
COPY connectors connectors
COPY projections projections
COPY api api
COPY page page
COPY service service
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . && rm /wheels/setuptools-*.whl

FROM ${PYTHON}

# The account has a number, so that `runAsNonRoot` can see what it is. /scratch takes what is temporary, also where the
# root file system is read-only. What installs and builds is not needed any more.
RUN --mount=from=built,source=/wheels,target=/wheels \
    pip install --no-cache-dir --root-user-action=ignore --no-index --no-deps /wheels/*.whl \
    && pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
    && groupadd --gid 10001 campaign-analytics \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir / --shell /usr/sbin/nologin campaign-analytics \
    && install --directory --owner 10001 --group 10001 --mode 0700 /scratch
VOLUME /scratch
USER 10001:10001
WORKDIR /
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000 TMPDIR=/scratch

EXPOSE 8000
# That the process lives; whether it can serve is /readyz, which a database that is away must not turn into a restart.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-I", "-S", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
# No embedded PostgreSQL is in it: a container without a database of its own would lose its facts. `serve` says so.
ENTRYPOINT ["campaign-analytics"]
CMD ["serve"]
