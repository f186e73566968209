package searchtoken_test

import (
	"mime"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/searchtoken/searchtoken"
)

// forwardable are the methods and URLs that a ProxyHandler may ask Coveo for,
// apart from the query. An id is one segment in its usual spelling.
var forwardable = func() []*regexp.Regexp {
	const id = `[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-F]{2}`
	var all []*regexp.Regexp
	for _, pattern := range []string{
		`(GET|POST) PLATFORM/rest/search/v2(/querySuggest|/html)?`,
		`POST PLATFORM/rest/search/v2/(facet|plan|values|values/batch)`,
		`GET PLATFORM/rest/search/v2/(fields|document|text|datastream)`,
		`POST ANALYTICS/rest/(ua/)?v15/analytics/(search|searches|click|custom|view|collect)`,
		`POST ANALYTICS/rest/organizations/acme/events/v1`,
		`GET PLATFORM/rest/organizations/acme/machinelearning/streaming/ID`,
		`POST PLATFORM/rest/organizations/acme/machinelearning/user/actions`,
		`POST PLATFORM/rest/organizations/acme/answer/v1/configs/ID/(generate|evaluations)`,
		`POST PLATFORM/api/preview/organizations/acme/agents/ID/(answer|follow-up)`,
		`POST PLATFORM/rest/organizations/acme/commerce/v2/(search|listing|recommendations|facet|badges)`,
		`POST PLATFORM/rest/organizations/acme/commerce/v2/search/(querySuggest|productSuggest|redirect)`,
		`POST PLATFORM/rest/organizations/acme/commerce/v2/tracking-ids/ID/badges`,
		`POST PLATFORM/rest/organizations/acme/insight/v1/configs/ID/(search|querysuggest)`,
		`GET PLATFORM/rest/organizations/acme/insight/v1/configs/ID/interface`,
		`(GET|POST) PLATFORM/rest/organizations/acme/insight/v1/configs/ID/(html|quickview)`,
		`POST PLATFORM/rest/organizations/acme/insight/v1/configs/ID/answer/ID/generate`,
		`POST PLATFORM/rest/organizations/acme/caseassists/ID/(classify|documents/suggest)`,
	} {
		pattern = strings.NewReplacer(
			"PLATFORM", `https://acme\.org\.coveo\.com`, "ANALYTICS", `https://acme\.analytics\.org\.coveo\.com`, "ID", `(`+id+`)+`,
		).Replace(pattern)
		all = append(all, regexp.MustCompile(`^`+pattern+`$`))
	}
	return all
}()

// FuzzProxy sends any request to a ProxyHandler. What reaches Coveo must be one
// of the operations of the front ends, with ann's token and nothing else of
// hers, and only if the request comes from a page of the site.
func FuzzProxy(f *testing.F) {
	const form, secret = "application/x-www-form-urlencoded", "secret-of-the-browser"
	for _, path := range []string{
		"/coveo/rest/search/v2", "/coveo/rest/search/v2/html", "/coveo/rest/search/v2/token", "/coveo/rest/search/v2/",
		"/coveo/rest/search%2fv2", "/coveo/rest/x/../search/v2", "/coveo//rest/search/v2", "/coveo/rest;/search/v2",
		"/coveo/REST/search/v2", "/rest/rest/search/v2", "/api/rest/search/v2", "/coveo/api/coveo/rest/search/v2",
		"/coveo/rest/organizations/acme/machinelearning/streaming/a%20b", "/coveo/rest/organizations/acme/events/v1",
		"/coveo/rest/organizations/acme/machinelearning/streaming/%2e%2e", "/coveo/rest/organizations/acme/answer/v1/configs/%2F/generate",
		"/coveo/rest/organizations/other/events/v1", "/coveo/rest/v15/analytics/search", "/coveo/rest/organizations/acme/sources",
	} {
		for _, method := range []string{"GET", "POST"} {
			f.Add(method, path, "organizationId=acme&access_token=proxied", form, "q=x&callback=y&org=acme", "same-origin", "empty")
		}
	}
	f.Add("DELETE", "/coveo/rest/search/v2", "", "", "", "same-origin", "empty")
	f.Add("POST", "/coveo/rest/search/v2", "organizationId=other", "application/json", "{}", "same-origin", "empty")
	f.Add("POST", "/coveo/rest/search/v2", "ORG=other", form, "Access_Token=x;callback=y", "cross-site", "script")
	f.Add("GET", "/coveo/rest/search/v2/html", "%zz=1&a=b&a=c", "", "", "none", "document")
	f.Fuzz(func(t *testing.T, method, path, query, contentType, body, site, dest string) {
		u := &upstream{}
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		decoded, err := url.PathUnescape(path)
		if err != nil {
			decoded = path
		}
		r.Method, r.URL = method, &url.URL{Path: decoded, RawPath: path, RawQuery: query}
		for name, value := range map[string]string{
			"User": "ann", "Content-Type": contentType, "Sec-Fetch-Site": site, "Sec-Fetch-Dest": dest,
			"Cookie": secret, "Referer": "https://example.com/" + secret, "X-Forwarded-For": secret, "Authorization": secret,
		} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := u.proxied(t, searchtoken.Config{Route: searchtoken.Route{ProxyURL: "/coveo"}}, r)

		if got := w.Header(); got.Get("Cache-Control") != "private, no-store" || got.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.HasPrefix(got.Get("Content-Security-Policy"), "sandbox; default-src 'none'") {
			t.Errorf("header %v", got)
		}
		if len(u.got) == 0 {
			if !slices.Contains([]int{400, 403, 404, 413, 415}, w.Code) {
				t.Errorf("status %d, and Coveo was not asked", w.Code)
			}
			return
		}
		got := u.got[0]
		address, sentQuery, _ := strings.Cut(got.URL, "?")
		line := got.Method + " " + address
		if len(u.got) != 1 || w.Code != 200 || !slices.ContainsFunc(forwardable, func(re *regexp.Regexp) bool { return re.MatchString(line) }) {
			t.Errorf("status %d, Coveo got %d calls: %s", w.Code, len(u.got), line)
		}
		if site != "" && site != "same-origin" && site != "none" {
			t.Errorf("Sec-Fetch-Site %q is answered", site)
		}
		if nameOf(strings.TrimPrefix(got.Header.Get("Authorization"), "Bearer ")) != "ann 1" {
			t.Errorf("Coveo got the token %q", got.Header["Authorization"])
		}
		for name, values := range got.Header {
			if strings.Contains(strings.Join(values, " "), secret) {
				t.Errorf("Coveo got %s: %q", name, values)
			}
		}
		forms := []string{sentQuery}
		if mediaType, _, _ := mime.ParseMediaType(contentType); mediaType == form {
			forms = append(forms, got.Body)
		}
		for _, encoded := range forms {
			params, err := url.ParseQuery(encoded)
			if err != nil {
				t.Errorf("parameters %q: %v", encoded, err)
			}
			for name, values := range params {
				switch strings.ToLower(name) {
				case "access_token", "callback", "errorsassuccess":
					t.Errorf("Coveo got the parameter %s", name)
				case "organizationid", "org":
					if !slices.Equal(values, []string{"acme"}) {
						t.Errorf("Coveo got %s=%q", name, values)
					}
				}
			}
		}
	})
}
