# lit-cnn serve in a container: the wheel of this checkout, and nothing else of it. See docs/serve.md.
#
#   docker build -t lit-cnn .
#   docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -p 127.0.0.1:8000:8000 -e LIT_CNN_TOKEN -v "$PWD/best.ckpt:/model/best.ckpt:ro" lit-cnn
#
# The server listens on all addresses of the container, so it asks for a token; -p 127.0.0.1:8000:8000 keeps the port to
# this machine, -p 8000:8000 opens it to others.

FROM python:3.12-slim-bookworm AS wheel
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY lit_cnn lit_cnn
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
# the CPU build of torch is a tenth of the size of the one for GPUs
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu "$(echo /wheels/*.whl)[serve,export]"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin server
USER 10001
WORKDIR /model
ENV PYTHONUNBUFFERED=1 HOME=/tmp LIT_CNN_CACHE=/tmp/lit_cnn
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["lit-cnn", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--ckpt_path", "/model/best.ckpt"]
