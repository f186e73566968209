package app

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const defaultAddr = "127.0.0.1:8080"

// listen listens on addr. If addr is empty, it listens on defaultAddr, or on a
// free port if that fails.
func listen(addr string, logger *slog.Logger) (net.Listener, error) {
	if addr != "" {
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("-addr: %w", err)
		}
		return listener, nil
	}
	listener, err := net.Listen("tcp", defaultAddr)
	if err != nil {
		logger.Warn("cannot listen on the default address: using a free port; set -addr to choose one", "error", err)
		return net.Listen("tcp", "127.0.0.1:0")
	}
	return listener, nil
}

// siteURL returns the URL that a browser on this machine opens to reach addr.
func siteURL(addr *net.TCPAddr) string {
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(addr.Port)) + "/"
}

// onlyLoopbackNames refuses requests for other hosts. It stops DNS rebinding: a
// foreign site could point its own host name at this machine, and its scripts
// would then count as same-origin here.
func onlyLoopbackNames(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := (&url.URL{Host: r.Host}).Hostname()
		if ip := net.ParseIP(host); !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "Open this site as localhost or 127.0.0.1.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
