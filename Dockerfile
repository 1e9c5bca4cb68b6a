# syntax=docker/dockerfile:1
# One image for every role: `docker run assay provider start ...`. Build it with `docker build -t assay .`.
# Workers lock themselves into namespaces of their own, so a provider needs them from the outside:
#   docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined -v provider:/data assay provider start ...
# (`assay provider selftest` says what is missing). Aggregators and clients need nothing special.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo xtask setup && cargo xtask dist --out /dist && \
    mkdir -p /image/usr/local && tar -xzf /dist/assay-*.tar.gz --strip-components=1 -C /image/usr/local && \
    mkdir -p /image/var/lib/assay/home && cp -r "$HOME/.cache/assay/ort" /image/var/lib/assay/home/

FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates libstdc++6 && \
    rm -rf /var/lib/apt/lists/* && useradd --system --home-dir /data --create-home assay
COPY --from=build /image/ /
ENV ASSAY_HOME=/var/lib/assay/home
USER assay
WORKDIR /data
VOLUME /data
ENTRYPOINT ["assay"]
