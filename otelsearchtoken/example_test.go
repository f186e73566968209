package otelsearchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gorilla/sessions"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/otelsearchtoken"
)

// A search site that a Prometheus scrapes at /metrics. A TracerProvider is set
// up as in every other program: with otel.SetTracerProvider, before the
// Observer.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// run serves the site until ctx is done.
func run(ctx context.Context) error {
	exporter, err := prometheus.New()
	if err != nil {
		return err
	}
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(exporter)))

	observer, err := otelsearchtoken.NewObserver()
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 448
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 4 * time.Second, PingTimeout: 3 * time.Second}

	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_KEY")))
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: os.Getenv("COVEO_ORGANIZATION_ID"),
		APIKey:         os.Getenv("COVEO_API_KEY"),
		Identify:       searchtoken.SessionEmail(store, "session", "email"),
		Observe:        observer.Observe,
		Route:          searchtoken.Route{Name: "search"},
		// Optional: a span for each HTTP request to Coveo.
		HTTPClient: &http.Client{Transport: otelhttp.NewTransport(transport), Timeout: 10 * time.Second},
	})
	if err != nil {
		return err
	}
	registration, err := observer.Register(coveo)
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(http.HandlerFunc(searchPage)))
	server := &http.Server{Addr: ":8080", Handler: otelhttp.NewHandler(mux, "site")}
	metrics := &http.Server{Addr: "localhost:9464", Handler: promhttp.Handler()} // not for visitors
	failed := make(chan error, 2)
	go func() { failed <- server.ListenAndServe() }()
	go func() { failed <- metrics.ListenAndServe() }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}

	limit, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(limit), coveo.Shutdown(limit), registration.Unregister(), metrics.Close())
}

// searchPage renders a page. The token is in r's context, as without an
// Observer.
func searchPage(w http.ResponseWriter, r *http.Request) {
	page, ok := searchtoken.FromContext(r.Context())
	if !ok {
		http.Error(w, "no search token", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "The token expires at %s.\n", page.Token.Expiry.Format(time.RFC3339))
}
