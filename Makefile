# Type `make` to see what there is. `make demo` and `make test` are all that a
# fresh machine with Go, git and make needs: they fetch the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help

# Where `make build` puts the program, and what it calls itself.
BIN     ?= bin/contauth
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# auto: the race detector if there is a C compiler; required: fail without one.
RACE         ?= auto
TEST_TIMEOUT ?= 20m
FUZZTIME     ?= 30s
CHECKS       ?= 1000
PKG          ?= ./...
RUN          ?= .
DEMO_FLAGS   ?=
BENCH_FLAGS  ?=
IMAGE        ?= contauth

STATICCHECK := go tool -modfile=tools/go.mod staticcheck

##@ Try it
.PHONY: help demo bench build docker
help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z][a-z-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@printf '\nSettings: BIN=%s VERSION=%s RACE=%s TEST_TIMEOUT=%s FUZZTIME=%s CHECKS=%s PKG=%s RUN=%s\n' \
	  '$(BIN)' '$(VERSION)' '$(RACE)' '$(TEST_TIMEOUT)' '$(FUZZTIME)' '$(CHECKS)' '$(PKG)' '$(RUN)'

demo: build ## charge a sample book at the sandbox, from nothing to a proven result
	@exec '$(abspath $(BIN))' demo $(DEMO_FLAGS)

bench: build ## measure the pipeline against its ceiling and naive loops (a quarter of an hour, on a quiet machine)
	@exec '$(abspath $(BIN))' bench $(BENCH_FLAGS)

build: ## build the static program bin/contauth
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o '$(BIN)' ./cmd/contauth

docker: ## build the container image (needs a container engine)
	@docker info --format '{{.ServerVersion}}' >/dev/null 2>&1 || \
	  { echo 'make docker: no container engine answers; `make test` checks the image without one' >&2; exit 1; }
	docker build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

##@ Check it
.PHONY: test torture properties scale fuzz check fmt vet staticcheck house lint
test: deps ## every test, with the race detector, in random order (at most 10 minutes)
	@$(race_flag); go test $$race -shuffle=on -timeout $(TEST_TIMEOUT) -run '$(RUN)' $(PKG); $(race_note)

torture: deps ## every kill five times, long properties, long fuzzing (three quarters of an hour)
	@$(race_flag); CONTAUTH_TORTURE=1 go test $$race -count=1 -shuffle=on -timeout 2h -run '$(RUN)' $(PKG); $(race_note)
	@$(MAKE) properties CHECKS=2000
	@$(MAKE) fuzz FUZZTIME=1m

# Only packages with properties know the flag.
properties: ## try each property CHECKS times
	@go test -count=1 -timeout 1h \
	  $$(go list -f '{{range .TestImports}}{{if eq . "pgregory.net/rapid"}}{{$$.ImportPath}} {{end}}{{end}}{{range .XTestImports}}{{if eq . "pgregory.net/rapid"}}{{$$.ImportPath}} {{end}}{{end}}' $(PKG)) \
	  -rapid.checks=$(CHECKS)

scale: ## a million rows: rates, memory and plans (half an hour)
	@go test -tags scale -count=1 -v -timeout 2h -run Scale $(PKG)

# go fuzzes one target at a time, so the list is asked of the packages.
fuzz: ## look for inputs that break a parser, FUZZTIME for each
	@for package in $$(go list $(PKG)); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

check: fmt vet staticcheck house ## formatting, vet, staticcheck, import rules, migration numbers

fmt:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo 'not formatted, run gofmt -w on:'; echo "$$unformatted"; exit 1; fi

vet:
	@go vet ./...
	@go vet -tags scale ./...

staticcheck:
	@$(STATICCHECK) ./...

house:
	@go test ./internal/arch

lint: ## golangci-lint, where it is installed: the taste beyond check
	@command -v golangci-lint >/dev/null || \
	  { echo 'make lint: install golangci-lint 2 (https://golangci-lint.run); `make check` needs nothing' >&2; exit 1; }
	golangci-lint run

##@ Prepare it
.PHONY: deps clean
# The race detector links C, so it wants a compiler. Everything else is Go's
# own; Postgres is found or fetched by the tests themselves.
deps: ## fetch modules, and on Debian as root the C compiler of the race detector
	@go mod download
	@if command -v "$$(go env CC)" >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo 'make deps: installing gcc, which the race detector needs'; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev; } >/dev/null; \
	elif [ '$(RACE)' = required ]; then \
	  echo 'make deps: the race detector needs gcc: install it (Debian: apt-get install gcc libc6-dev)' >&2; exit 1; \
	fi

clean: ## remove what was built
	@rm -rf bin dist

# An ordinary user without a compiler still gets every test, and is told what
# this run could not see: first here, and again below the results.
define race_flag
race=-race; export CGO_ENABLED=1; \
if ! command -v "$$(go env CC)" >/dev/null; then \
  race=; export CGO_ENABLED=0; echo 'no C compiler: testing without the race detector (Debian: apt-get install gcc libc6-dev)'; \
fi
endef
define race_note
[ -n "$$race" ] || echo 'note: tested without the race detector, there is no C compiler here'
endef
