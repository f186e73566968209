// Package e2e has no code of its own: its tests open the pages of example/site in
// Chromium, with Coveo's real front-end libraries and a stand-in for the platform.
//
// The browser finds every host of Coveo's at a server of the tests, by TLS and
// under its own name, so that the pages are those of production, byte for byte.
package e2e
