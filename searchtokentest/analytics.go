package searchtokentest

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// analyticsAPI serves Usage Analytics and the Event Protocol.
type analyticsAPI struct{ tokens *issuer }

// analyticsEvent returns the last segment of a path of Usage Analytics
// (/rest/ua/…, /rest/v15/analytics/…), or "events" and the organization for the
// Event Protocol (/rest/organizations/{organization}/events/v1). ok is false
// for other paths.
func analyticsEvent(urlPath string) (event, organization string, ok bool) {
	segments := strings.Split(strings.TrimPrefix(urlPath, "/"), "/")
	if len(segments) < 3 || segments[0] != "rest" {
		return "", "", false
	}
	switch {
	case segments[1] == "ua", slices.Contains(segments[1:3], "analytics"):
		return path.Base(urlPath), "", true
	case len(segments) >= 5 && segments[1] == "organizations" && segments[3] == "events":
		return "events", segments[2], true
	}
	return "", "", false
}

// serve accepts an event. Unlike the query API, it responds with 400 to every
// token that is missing, foreign, expired or rejected.
func (a *analyticsAPI) serve(w http.ResponseWriter, c *call, event string) {
	if event == "status" {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
		return
	}
	if _, err := a.tokens.verify(tokenOf(c.Request)); err != nil {
		writeJSON(w, http.StatusBadRequest, struct {
			Message string `json:"message"`
			Type    string `json:"type"`
		}{"The provided token is not a valid token.", "InvalidToken"})
		return
	}
	if !isForOrganization(c, a.tokens.organization) {
		writeUnknownOrganization(w)
		return
	}
	visit := map[string]any{"visitId": newID(), "visitorId": newID()}
	switch event {
	case "searches":
		writeJSON(w, http.StatusOK, map[string]any{"searchEventResponses": []any{visit}})
	case "visit":
		visit["id"] = visit["visitId"]
		writeJSON(w, http.StatusOK, visit)
	case "topQueries":
		writeJSON(w, http.StatusOK, []string{})
	case "events":
		writeJSON(w, http.StatusOK, struct{}{})
	default:
		writeJSON(w, http.StatusOK, visit)
	}
}
