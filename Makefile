# make test needs Go, and installs the rest: a C compiler, which the race
# detector wants.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
MODULES     = $(shell go list -m -f '{{.Dir}}')
APT_GET     = $(if $(filter 0,$(shell id -u)),,sudo )apt-get

.PHONY: test fmt vet deps

# Formatting and static checks of all modules, then all their tests.
test: deps fmt vet
	@for dir in $(MODULES); do (cd $$dir && CGO_ENABLED=1 go test -race -shuffle=on ./...) || exit 1; done

fmt:
	@test -z "$$(gofmt -l .)" || { echo "gofmt -w these files:"; gofmt -l .; exit 1; }

vet: deps
	@for dir in $(MODULES); do (cd $$dir && go vet ./... && go run $(STATICCHECK) ./...) || exit 1; done

deps:
	@command -v gcc >/dev/null || { $(APT_GET) update && $(APT_GET) install -y gcc libc6-dev; }
