# The build image's version is the one in rust-toolchain.toml, which therefore stays outside: rustup fetches nothing.
ARG BUILD_IMAGE=rust:1.95.0-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY benches ./benches
COPY config ./config
COPY src ./src
RUN cargo build --release --locked --bin keygate \
    && strip -o /keygate target/release/keygate

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="keygate" \
      org.opencontainers.image.description="An authenticating reverse-proxy gateway: API keys in, third-party credentials out" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 65532 keygate \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/keygate --shell /usr/sbin/nologin keygate \
    && install --directory --owner=65532 --group=65532 --mode=0750 /var/lib/keygate
COPY --from=build /keygate /usr/local/bin/keygate
# Whom to trust: receivers of webhooks and mail servers are asked for certificates.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Meant to be replaced: mount your own over it.
COPY config/container.yaml /etc/keygate/keygate.yaml
COPY LICENSE /usr/share/doc/keygate/LICENSE
# What the start needed for a moment goes back to the system at once: with many keys that is most of it.
ENV KEYGATE_CONFIG=/etc/keygate/keygate.yaml MIMALLOC_PURGE_DELAY=0
WORKDIR /var/lib/keygate
# The store. It keeps the folder's owner, and is writable where the rest is not.
VOLUME ["/var/lib/keygate"]
# By number, so that an orchestrator can tell that it is not root.
USER 65532:65532
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["keygate", "health"]
ENTRYPOINT ["keygate"]
CMD ["serve"]
