# make test needs Go. If missing, it installs a C compiler for the race detector,
# Redis, Prometheus (for promtool), and for the browser tests Chromium, Node and (with
# npm) Coveo's libraries.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
MODULES     = $(shell go list -m -f '{{.Dir}}')
APT_GET     = $(if $(filter 0,$(shell id -u)),,sudo )apt-get

.PHONY: test bench fuzz fmt vet deps wrk

# Checks the formatting of all modules, runs the static checks, the fuzz tests and
# all tests. The root module's tests also run without the race detector: some of them
# check more then.
test: deps fmt vet fuzz e2e/cdn
	@go test -shuffle=on ./...
	@for dir in $(MODULES); do (cd $$dir && CGO_ENABLED=1 go test -race -shuffle=on -timeout 30m ./...) || exit 1; done

# Runs each fuzz test for a short time; set FUZZTIME=10m for longer. A failing input
# is written to testdata/fuzz, and every later test run uses it.
FUZZTIME = 5000x
fuzz:
	@go vet . && for name in $$(go test -list '^Fuzz' . | grep '^Fuzz'); do go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 0 . || exit 1; done

# Measures everything in one run with what it is compared to. The unit x is the ratio.
bench: deps wrk e2e/peers/express/node_modules
	@go test -run '^$$' -bench . -timeout 30m . ./rediscache ./otelsearchtoken >bench.out || { cat bench.out; exit 1; }
	@printf '| benchmark | result |\n|---|---|\n'
	@awk '/^Benchmark/ { sub(/^Benchmark/, ""); printf "| %s |", $$1; for (i = 3; i < NF; i += 2) printf "%s %s %s", (i > 3 ? "," : ""), $$i, $$(i+1); print " |" }' bench.out
	@cd e2e && go run ./peers

fmt:
	@files="$$(find . -name node_modules -prune -o -name '*.go' -print | xargs gofmt -l)"; test -z "$$files" || { echo "gofmt -w these files:"; echo "$$files"; exit 1; }

vet: deps
	@for dir in $(MODULES); do (cd $$dir && go vet ./... && go run $(STATICCHECK) ./...) || exit 1; done

# Installs the packages of commands that are missing.
deps:
	@packages=""; \
	command -v gcc >/dev/null || packages="$$packages gcc libc6-dev"; \
	command -v chromium >/dev/null || packages="$$packages chromium"; \
	command -v npm >/dev/null || packages="$$packages nodejs npm"; \
	command -v redis-server >/dev/null && command -v redis-cli >/dev/null || packages="$$packages redis-server"; \
	command -v promtool >/dev/null || packages="$$packages prometheus"; \
	test -z "$$packages" || { $(APT_GET) update && $(APT_GET) install -y --no-install-recommends $$packages; }

wrk: | deps
	@command -v wrk >/dev/null || { $(APT_GET) update && $(APT_GET) install -y --no-install-recommends wrk; }

e2e/peers/express/node_modules: e2e/peers/express/package-lock.json | deps
	cd e2e/peers/express && npm ci
	@touch $@

# Installs Coveo's front-end libraries, with the paths of Coveo's CDN.
e2e/cdn: e2e/package-lock.json e2e/bundle.mjs | deps
	cd e2e && npm ci --no-audit --no-fund && npm run build
	@touch $@
