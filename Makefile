# make test needs Go, and installs the rest: a C compiler, which the race
# detector wants; for the browser tests Chromium, and with npm Coveo's libraries; Redis.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
MODULES     = $(shell go list -m -f '{{.Dir}}')
APT_GET     = $(if $(filter 0,$(shell id -u)),,sudo )apt-get

.PHONY: test bench fuzz fmt vet deps wrk

# Formatting and static checks of all modules, then all their tests. Some of the
# core's do more where no race detector slows them down.
test: deps fmt vet fuzz e2e/cdn
	@go test -shuffle=on ./...
	@for dir in $(MODULES); do (cd $$dir && CGO_ENABLED=1 go test -race -shuffle=on -timeout 30m ./...) || exit 1; done

# A short run of each fuzz test; FUZZTIME=10m is a long one. What fails is written to
# testdata/fuzz, and is a test from then on.
FUZZTIME = 5000x
fuzz:
	@go vet . && for name in $$(go test -list '^Fuzz' . | grep '^Fuzz'); do go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 0 . || exit 1; done

# What everything costs, beside what it is compared with: x is the ratio.
bench: deps wrk e2e/peers/express/node_modules
	@go test -run '^$$' -bench . -timeout 30m . ./rediscache >bench.out || { cat bench.out; exit 1; }
	@printf '| benchmark | result |\n|---|---|\n'
	@awk '/^Benchmark/ { sub(/^Benchmark/, ""); printf "| %s |", $$1; for (i = 3; i < NF; i += 2) printf "%s %s %s", (i > 3 ? "," : ""), $$i, $$(i+1); print " |" }' bench.out
	@cd e2e && go run ./peers

fmt:
	@files="$$(find . -name node_modules -prune -o -name '*.go' -print | xargs gofmt -l)"; test -z "$$files" || { echo "gofmt -w these files:"; echo "$$files"; exit 1; }

vet: deps
	@for dir in $(MODULES); do (cd $$dir && go vet ./... && go run $(STATICCHECK) ./...) || exit 1; done

# The packages whose commands are missing.
deps:
	@packages=""; \
	command -v gcc >/dev/null || packages="$$packages gcc libc6-dev"; \
	command -v chromium >/dev/null || packages="$$packages chromium"; \
	command -v npm >/dev/null || packages="$$packages nodejs npm"; \
	command -v redis-server >/dev/null && command -v redis-cli >/dev/null || packages="$$packages redis-server"; \
	test -z "$$packages" || { $(APT_GET) update && $(APT_GET) install -y --no-install-recommends $$packages; }

wrk: | deps
	@command -v wrk >/dev/null || { $(APT_GET) update && $(APT_GET) install -y --no-install-recommends wrk; }

e2e/peers/express/node_modules: e2e/peers/express/package-lock.json | deps
	cd e2e/peers/express && npm ci
	@touch $@

# Coveo's front-end libraries as its CDN serves them.
e2e/cdn: e2e/package-lock.json e2e/bundle.mjs | deps
	cd e2e && npm ci --no-audit --no-fund && npm run build
	@touch $@
