# farshore: one datacenter in a container. How to build and run it: docs/labs.md.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# ---- build: a venv with the pinned dependencies and the wheel -----------------------------
FROM ${PYTHON_IMAGE} AS build

# Where pip looks, for networks with an index of their own. Proxies need no ARG: Docker knows
# theirs. labs/wheelhouse, when it holds wheels, is used instead of any index.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /src
COPY labs/wheelhouse/ /wheelhouse/
COPY pyproject.toml constraints.txt ./

# pip and the build backend live in /tools and stay behind; the dependencies come before the
# code, so that a change of the code does not fetch them again.
RUN set -eu; \
    if ls /wheelhouse/*.whl >/dev/null 2>&1; then \
        printf '[global]\nno-index = true\nfind-links = /wheelhouse\n' >/etc/pip.conf; \
    fi; \
    python3 -m venv /tools; \
    /tools/bin/pip install --quiet --upgrade -c constraints.txt pip; \
    /tools/bin/pip install --quiet -c constraints.txt hatchling; \
    python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        >/requirements.txt; \
    python3 -m venv --without-pip /opt/farshore; \
    /tools/bin/pip --python /opt/farshore/bin/python3 install --quiet --only-binary :all: \
        -c constraints.txt -r /requirements.txt

COPY . .
RUN set -eu; \
    /tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /dist .; \
    /tools/bin/pip --python /opt/farshore/bin/python3 install --quiet --no-deps --no-index /dist/*.whl

# ---- the image ----------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}

RUN groupadd --gid 10001 farshore \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home \
        --shell /usr/sbin/nologin farshore \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/farshore /opt/farshore
COPY labs/entrypoint.sh /usr/local/bin/farshore-entrypoint

ENV PATH=/opt/farshore/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /data
VOLUME /data

# S3, other DCs, admin (this one listens on the container's loopback unless told otherwise).
EXPOSE 8000 7000 9000
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 9000, timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]

ENTRYPOINT ["farshore-entrypoint"]
CMD ["start"]
