package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// web is the internet as the browser and the sites see it: one server on
// loopback for Coveo's hosts and those of the sites.
type web struct {
	server *httptest.Server
	plain  *httptest.Server // the same without TLS
	pin    string           // SHA-256 of the server's public key, in the format of Chromium's flag
	client *http.Client     // connects to the server, for every host
	cdn    http.Handler

	mu        sync.Mutex              // guards the fields below
	sites     map[string]http.Handler // by host
	platforms map[string]http.Handler // by organization
}

// newWeb starts the servers. The caller must close w.
func newWeb() (*web, error) {
	w := &web{cdn: newCDN(), sites: make(map[string]http.Handler), platforms: make(map[string]http.Handler)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "searchtoken e2e"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		DNSNames: []string{
			"*.example.com", "*.example.net", "*.cloud.coveo.com",
			"*.org.coveo.com", "*.analytics.org.coveo.com", "*.orghipaa.coveo.com", "*.analytics.orghipaa.coveo.com",
		},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pin := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	w.pin = base64.StdEncoding.EncodeToString(pin[:])

	w.server = httptest.NewUnstartedServer(w)
	w.server.EnableHTTP2 = true
	w.server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0) // the browser may end connections at any time
	w.server.StartTLS()
	w.plain = httptest.NewServer(w)

	roots := x509.NewCertPool()
	roots.AddCert(cert)
	w.client = &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			ForceAttemptHTTP2: true,
			TLSClientConfig:   &tls.Config{RootCAs: roots},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, w.server.Listener.Addr().String())
			},
		},
	}
	return w, nil
}

func (w *web) close() {
	w.server.Close()
	w.plain.Close()
}

// add makes the site at host, and the platform of its organization, reachable.
func (w *web) add(host string, site http.Handler, organization string, platform http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sites[host] = site
	w.platforms[organization] = platform
}

// ServeHTTP passes a request to the handler of its host.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if h := w.handler(r); h != nil {
		h.ServeHTTP(rw, r)
		return
	}
	http.Error(rw, "The tests have no host "+r.Host+".", http.StatusMisdirectedRequest)
}

func (w *web) handler(r *http.Request) http.Handler {
	w.mu.Lock()
	defer w.mu.Unlock()
	name, domain, _ := strings.Cut(r.Host, ".")
	switch domain {
	case "example.com", "example.net", "example.org", "example.edu":
		if name == "assets" { // a copy of the CDN
			return w.cdn
		}
		return w.sites[r.Host]
	case "org.coveo.com", "orghipaa.coveo.com", "analytics.org.coveo.com", "analytics.orghipaa.coveo.com":
		return w.platforms[name]
	case "cloud.coveo.com":
		switch name {
		case "static", "staticdev":
			return w.cdn
		case "platform", "search", "analytics", "platformhipaa", "searchhipaa", "analyticshipaa":
			// All organizations share these hosts. The URL contains the
			// organization.
			isSeparator := func(c rune) bool { return strings.ContainsRune("/?&=", c) }
			for organization, platform := range w.platforms {
				for part := range strings.FieldsFuncSeq(r.URL.RequestURI(), isSeparator) {
					if part == organization {
						return platform
					}
				}
			}
		}
	}
	return nil
}

// newCDN returns a handler for the paths of Coveo's CDN. It serves JSUI as npm
// has installed it, and the files that bundle.mjs has built.
func newCDN() http.Handler {
	mux := http.NewServeMux()
	jsui := http.FileServer(http.Dir("node_modules/coveo-search-ui/bin"))
	mux.Handle("/searchui/v2.10126/2/", http.StripPrefix("/searchui/v2.10126/2", jsui))
	mux.Handle("/searchui/v2.10126/", http.StripPrefix("/searchui/v2.10126", jsui))
	mux.Handle("/", http.FileServer(http.Dir("cdn")))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cache-Control", "public, max-age=600")
		mux.ServeHTTP(w, r)
	})
}

// hostRules returns Chromium's flag that maps all hosts to w's servers, and
// blocks every other address. example.org and example.edu have no TLS.
func (w *web) hostRules() string {
	const rules = "MAP *.coveo.com %[1]s, MAP *.example.com %[1]s, MAP *.example.net %[1]s, " +
		"MAP *.example.org %[2]s, MAP *.example.edu %[2]s, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
	return fmt.Sprintf(rules, w.server.Listener.Addr(), w.plain.Listener.Addr())
}
