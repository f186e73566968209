package searchtokentest

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// analyticsEvent returns the last part of the path of a call of Usage Analytics (/rest/ua/…, /rest/v15/analytics/…) or
// of the Event Protocol (/rest/organizations/{id}/events/v1).
func analyticsEvent(urlPath string) (event string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(urlPath, "/"), "/")
	if len(parts) < 3 || parts[0] != "rest" {
		return "", false
	}
	switch {
	case parts[1] == "ua", slices.Contains(parts[1:3], "analytics"):
		return path.Base(urlPath), true
	case len(parts) >= 5 && parts[1] == "organizations" && parts[3] == "events":
		return "events", true
	}
	return "", false
}

// serveAnalytics takes an event. A token that is missing, foreign, expired or rejected is a 400 here, not a 419.
func (p *Platform) serveAnalytics(w http.ResponseWriter, c *call, event string) {
	if event == "status" {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
		return
	}
	if _, err := p.tokens.verify(tokenOf(c.Request), p.now()); err != nil {
		writeJSON(w, http.StatusBadRequest, struct {
			Message string `json:"message"`
			Type    string `json:"type"`
		}{"The provided token is not a valid token.", "InvalidToken"})
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
