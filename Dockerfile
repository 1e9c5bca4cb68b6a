# syntax=docker/dockerfile:1
# One image for every role. Build it with `docker build -t assay .`.
#
# Everything that is written lies below /data, which belongs to the image's user: keys, the data of daemons, caches. A folder
# of the host that is mounted there must belong to that user too (`docker run --rm --entrypoint id assay`).
#
# Workers lock themselves into namespaces of their own, so a provider needs them from the outside, and it needs an aggregator:
#   docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined -v provider:/data \
#     assay provider start --aggregator https://AGGREGATOR
# (`assay provider selftest` says what is missing). It only ever connects outwards: no port is published. `assay job run --local`
# starts workers as well; other commands of clients need nothing special.
#
# An aggregator listens on loopback unless told otherwise, and nobody reaches the loopback of a container:
#   docker run -p 127.0.0.1:7700:7700 -p 7701:7701 -v aggregator:/data assay aggregator start \
#     --http 0.0.0.0:7700 --http-name NAME --p2p /ip4/0.0.0.0/tcp/7701 --p2p-external /ip4/ADDRESS/tcp/7701
# HTTP is published to this machine alone, for a proxy that terminates TLS for NAME. `--p2p-external`, which may be repeated,
# is where peers reach it from outside: a container knows only addresses that lead nowhere else.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo xtask setup && cargo xtask dist --out /dist && \
    mkdir -p /image/usr/local/lib/assay && tar -xzf /dist/assay-*.tar.gz --strip-components=1 -C /image/usr/local && \
    cp -r "$HOME/.cache/assay/ort/." /image/usr/local/lib/assay/

FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates libstdc++6 && \
    rm -rf /var/lib/apt/lists/* && useradd --system --home-dir /data --create-home assay
COPY --from=build /image/ /
# What is only read is root's. ASSAY_HOME is not set: below it is written, so it stays where it is by default, in /data/.cache.
ENV ASSAY_ORT_DYLIB=/usr/local/lib/assay/libonnxruntime.so
ENV HOME=/data
USER assay
WORKDIR /data
VOLUME /data
ENTRYPOINT ["assay"]
