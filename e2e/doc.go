// Package e2e contains browser tests only. They open the pages of example/site
// in Chromium, with Coveo's real front-end libraries and searchtokentest as the
// platform.
//
// A server of the tests serves all of Coveo's hosts over TLS under their real
// names. That is why the pages are the same, byte for byte, as in production.
package e2e
