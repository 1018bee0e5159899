# The image holds one static program, the certificates it trusts and a directory
# to write to. No shell, no package, no root. Time zones are inside the program.
# A private Postgres (embedded://) needs more than this: give it CONTAUTH_DATABASE_URL.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN make build BIN=/out/contauth VERSION="$VERSION" && mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/contauth /contauth
COPY --from=build --chown=65532:65532 /out/data /data
# The number, not a name: Kubernetes' runAsNonRoot cannot look a name up.
USER 65532:65532
# Without /etc/passwd the audit table takes the actor's name from here.
ENV USER=contauth HOME=/data
WORKDIR /data
ENTRYPOINT ["/contauth"]
