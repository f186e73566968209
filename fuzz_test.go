package searchtoken_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"html/template"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gorilla/sessions"

	"github.com/searchtoken/searchtoken"
)

// FuzzSessionCookie sends any Cookie header. The user must be the one that the
// store finds in it, or nobody.
func FuzzSessionCookie(f *testing.F) {
	store := sessions.NewCookieStore(sessionKey, nil, otherKey, nil)
	stranger := sessions.NewCookieStore([]byte("00112233445566778899aabbccddeeff"))
	codecs := append(slices.Clone(store.Codecs), stranger.Codecs...)
	const (
		current, older, strangers = 0, 1, 2
		email                     = "ann@example.com"
	)
	for signer := range uint8(len(codecs)) {
		f.Add("", "", signer, uint8(0), email, uint16(0), uint16(0), byte(0))
	}
	for kind := range uint8(6) {
		f.Add("", "", uint8(current), kind, "ann", uint16(0), uint16(0), byte(0))
	}
	for _, value := range []string{"", " \t", "ann\xff", strings.Repeat("a", 2000)} {
		f.Add("", "", uint8(older), uint8(0), value, uint16(0), uint16(0), byte(0))
	}
	f.Add("", "", uint8(current), uint8(0), email, uint16(40), uint16(0), byte(0))  // truncated
	f.Add("", "", uint8(current), uint8(0), email, uint16(0), uint16(60), byte(1))  // tampered with
	f.Add("", "", uint8(current), uint8(0), email, uint16(0), uint16(60), byte(27)) // not base64
	f.Add("", "; session=y", uint8(current), uint8(0), email, uint16(0), uint16(0), byte(0))
	f.Add("session=; ", "", uint8(current), uint8(0), email, uint16(0), uint16(0), byte(0))
	f.Add("session=x; ", "", uint8(current), uint8(0), email, uint16(0), uint16(0), byte(0))
	f.Add("session="+strings.Repeat("A", 5000)+"; ", "", uint8(current), uint8(0), email, uint16(0), uint16(0), byte(0))
	f.Add("a=b, ", "\"", uint8(strangers), uint8(0), email, uint16(0), uint16(0), byte(0))

	// The header is the cookie between before and after. The cookie is cut to
	// length, unless that is 0, and the bits of flip are changed in one of its
	// bytes.
	f.Fuzz(func(t *testing.T, before, after string, signer, kind uint8, value string, length, at uint16, flip byte) {
		synctest.Test(t, func(t *testing.T) {
			value = value[:min(len(value), 2000)] // what fits into a cookie
			values := []any{value, []byte(value), len(value), value == "", 1.5, nil}
			session := map[any]any{"email": values[int(kind)%len(values)]}
			if session["email"] == nil {
				session = map[any]any{value: 1}
			}
			encoded, err := codecs[int(signer)%len(codecs)].Encode("session", session)
			if err != nil {
				t.Fatal(err)
			}
			cookie := []byte(encoded)
			cookie[int(at)%len(cookie)] ^= flip
			if length > 0 {
				cookie = cookie[:min(int(length), len(cookie))]
			}
			r := request("")
			r.Header.Set("Cookie", before+"session="+string(cookie)+after)

			want := answer{Status: http.StatusUnauthorized, Body: "Unauthorized\n"}
			if session, err := store.New(r.Clone(t.Context()), "session"); err == nil && !session.IsNew {
				email, _ := session.Values["email"].(string)
				user := searchtoken.TokenParams{UserIDs: searchtoken.Email(email).UserIDs}
				switch {
				case email == "":
				case user.Validate() != nil: // only the application can have written it
					want = answer{Status: http.StatusInternalServerError, Body: "Internal Server Error\n"}
				default:
					want = answer{Status: http.StatusOK, Body: tokenFor(1, user).Value}
				}
			}
			m := newMiddleware(t, searchtoken.Config{
				Identify: searchtoken.SessionEmail(store, "session", "email"),
				Cache:    searchtoken.NewMemoryCache(1),
			})
			if got := seen(get(m, r)); got != want {
				t.Errorf("Cookie: %q\nanswer %+v, want %+v", r.Header["Cookie"], got, want)
			}
		})
	})
}

// platform returns a client that gets this answer to every call, after a
// second.
func platform(status int, header http.Header, body string) *http.Client {
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		time.Sleep(time.Second)
		resp := respond(status, body, header.Clone())
		resp.Request = r
		return resp, nil
	})}
}

// FuzzPlatformAnswer has the platform send any answer. The result must be a
// token that fits into a header, or an error that may be logged.
func FuzzPlatformAnswer(f *testing.F) {
	const (
		apiKey = "plain-6f1c0d2a93be" // without the form of Coveo's API keys
		email  = "zoe.quill@example.com"
		name   = "Zoe Quill"
		token  = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiJxdzdzNjVmIn0.Rm9vQmFy"

		// Type, Message and RequestID have at most 300 bytes and an ellipsis
		// each.
		maxErrorText = 1000
	)
	secrets := strings.NewReplacer("<key>", apiKey, "<email>", email, "<name>", name, "<token>", token)
	credential := regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]|(?i:bearer )[A-Za-z0-9]`)
	params := searchtoken.TokenParams{
		UserIDs: searchtoken.Email(email).UserIDs, UserDisplayName: name, ValidFor: time.Hour,
	}

	for _, body := range []string{
		``, `{`, `[]`, `null`, `{} {}`, `{"token":"abc"}`, ` {"token":"abc="}`, `{"token":"abc def"}`,
		`{"token":"abc\r\nCookie: a"}`, `{"token":12}`, `{"token":null}`, `{"token":""}`, `{"token":["abc"]}`,
		`{"token":"<token>"}`, `{"token":"<token>"} x`,
		`{"message":12,"errorCode":{},"type":1e400}`,
	} {
		f.Add(uint16(200), "application/json", "", "", "", body, "", "")
	}
	f.Add(uint16(200), "text/html; charset=utf-8", "", "", "", `<html><token>`, "", "")
	f.Add(uint16(200), "", "", "", "BLOCK", `{"token":"abc"}`, "", "")
	for _, claims := range []string{
		`{"iat":946684800,"exp":946688400}`, `{"iat":946684800,"exp":1}`, `{"iat":1,"exp":1e18}`, `{"exp":946684900}`,
		`{"exp":4e9}`, `{"exp":1}`, `{"iat":-1,"exp":1e300}`, `{"iat":0.5,"exp":-1}`, `{"iat":"x"}`, `x`,
	} {
		f.Add(uint16(200), "", "", "", "", "", "", claims)
	}
	for i, message := range []string{
		"denied", "<key> <email>", "Zoe\tQuill", "Bearer\nopaque", "Bearer <token>", "<name><key><name>",
		"x\r\n2026/11/21 12:00:00 \x1b[31m\u2028\u202e\xff", "\"<>&", "%40 &#64; a@b",
		strings.Repeat("<key>", 300), strings.Repeat("long ", 2000), strings.Repeat("é", 400),
		strings.Repeat("<token>", 100) + " ",
	} {
		f.Add(uint16(400+i), "", "30", message, "", "", message, "")
	}
	f.Add(uint16(302), "", "Sat, 01 Jan 2000 00:01:00 GMT", "", "", "", "", "")
	f.Add(uint16(0), "", "-1", "", "", "", "", "")
	f.Add(uint16(65535), "", "999999999999999999999", "", "", "", "", "")

	// The body has a token with claims. If claims is empty, it has message
	// between secrets. If both are empty, it is body. Words in angle brackets
	// stand for secrets.
	f.Fuzz(func(t *testing.T, status uint16, contentType, retryAfter, requestID, waf, body, message, claims string) {
		synctest.Test(t, func(t *testing.T) {
			switch {
			case claims != "":
				body = `{"token":"e30.` + base64.RawURLEncoding.EncodeToString([]byte(claims)) + `.c2ln"}`
			case message != "":
				message = secrets.Replace("<email> " + message + " <token> <key> <name>")
				raw, err := json.Marshal(map[string]string{"message": message, "errorCode": message})
				if err != nil {
					t.Fatal(err)
				}
				body = string(raw)
			default:
				body = secrets.Replace(body)
			}
			client, err := searchtoken.NewClient(searchtoken.ClientConfig{
				OrganizationID: "acme", APIKey: apiKey,
				HTTPClient: platform(int(status), http.Header{
					"Content-Type": {contentType}, "Retry-After": {retryAfter},
					"X-Request-Id": {secrets.Replace(requestID)}, "X-Coveo-Waf-Action": {waf},
				}, body),
			})
			if err != nil {
				t.Fatal(err)
			}
			requested := time.Now()
			got, err := client.Issue(t.Context(), params)
			if err == nil {
				if status != http.StatusOK || got.Value == "" || len(got.Value) > 16<<10 {
					t.Errorf("status %d, a token of %d bytes", status, len(got.Value))
				}
				if strings.ContainsFunc(got.Value, func(r rune) bool { return r <= ' ' || r > '~' }) {
					t.Errorf("token %q does not fit into a header", got.Value)
				}
				if !got.Issued.Equal(requested) || got.Expiry.After(requested.Add(params.ValidFor)) {
					t.Errorf("requested at %v, Issued %v, Expiry %v", requested, got.Issued, got.Expiry)
				}
				// Without iat, exp is a date, perhaps a past one.
				var times struct{ Iat float64 }
				hasIat := json.Unmarshal([]byte(claims), &times) == nil && times.Iat >= 1 && times.Iat <= 1<<40
				if hasIat && got.Expiry.Before(got.Issued) {
					t.Errorf("claims %s: Issued %v, Expiry %v", claims, got.Issued, got.Expiry)
				}
				return
			}

			api, ok := err.(*searchtoken.APIError)
			if !ok || got != (searchtoken.Token{}) {
				t.Fatalf("error %T %v with %v, want an *APIError alone", err, err, got)
			}
			if api.StatusCode != int(status) || api.RetryAfter < 0 || api.RetryAfter > 5*time.Minute {
				t.Errorf("status %d: %d, Retry-After %v", status, api.StatusCode, api.RetryAfter)
			}
			text := err.Error()
			unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
			if len(text) > maxErrorText || !utf8.ValidString(text) || strings.ContainsFunc(text, unprintable) {
				t.Errorf("the error is too long or not one printable line: %d bytes, %q", len(text), text)
			}
			for _, secret := range []string{apiKey, email, name, token} {
				if strings.Contains(text, secret) {
					t.Errorf("the error shows %s: %q", secret, text)
				}
			}
			if found := credential.FindString(text); found != "" {
				t.Errorf("the error shows %s, which looks like a credential: %q", found, text)
			}
		})
	})
}

// FuzzRetryAfter has the platform send any Retry-After header. Seconds and
// dates count up to 5 minutes, and every other value counts as none. Visitors
// get whole seconds.
func FuzzRetryAfter(f *testing.F) {
	layouts := []string{http.TimeFormat, time.RFC850, time.ANSIC}
	for _, header := range []string{
		" ", "0", "1", "300", "301", " 7\t", "00000000000000000009", "99999999999999999999999", "-5", "+5", "1.5",
		"1e2", "0x10", "1_0", "5s", "٣", "１２", "3, 4", "soon",
		"Fri, 31 Dec 9999 23:59:59 GMT", "Sat Jan  1 00:01:00.5 2000", "Sat, 01 Jan 2000 00:01:00",
		"Saturday, 01-Jan-00 00:01:00 PST",
	} {
		f.Add(header, int32(0), uint8(0))
	}
	for layout := range layouts {
		for _, offset := range []int32{math.MinInt32, -1, 0, 1, 90, 299, 300, 301, math.MaxInt32} {
			f.Add("", offset, uint8(layout))
		}
	}
	digits := regexp.MustCompile(`^[0-9]+$`)

	// If header is empty, the header is a date, offset seconds after the
	// answer.
	f.Fuzz(func(t *testing.T, header string, offset int32, layout uint8) {
		synctest.Test(t, func(t *testing.T) {
			const longest = 5 * time.Minute
			clamp := func(d time.Duration) time.Duration { return min(max(d, 0), longest) }
			answered := time.Now().Add(time.Second).UTC()
			var want time.Duration
			trimmed := strings.TrimSpace(header)
			date, notDate := http.ParseTime(trimmed)
			switch {
			case header == "":
				layout := layouts[int(layout)%len(layouts)]
				if layout == time.RFC850 { // its years have two digits: 1969 to 2068
					offset %= 30 * 365 * 24 * 60 * 60
				}
				distance := time.Duration(offset) * time.Second
				want = clamp(distance)
				header = strings.Replace(answered.Add(distance).Format(layout), "UTC", "GMT", 1)
			case digits.MatchString(trimmed):
				want = longest
				if seconds, _ := new(big.Int).SetString(trimmed, 10); seconds.IsInt64() && seconds.Int64() < 300 {
					want = time.Duration(seconds.Int64()) * time.Second
				}
			case notDate == nil:
				want = clamp(date.Sub(answered))
			}

			var api *searchtoken.APIError
			w := get(newMiddleware(t, searchtoken.Config{
				APIKey: "key", Cache: searchtoken.NewMemoryCache(1),
				HTTPClient: platform(http.StatusTooManyRequests, http.Header{"Retry-After": {header}}, ""),
				Observe: func(_ context.Context, e searchtoken.Event) {
					if e.Kind == searchtoken.EventFetch && !errors.As(e.Err, &api) {
						t.Errorf("Retry-After %q: %v", header, e.Err)
					}
				},
			}), request("ann"))
			if api == nil || api.RetryAfter != want {
				t.Fatalf("Retry-After %q: %+v, want %v", header, api, want)
			}
			// Without a Retry-After, the next call is possible after about a
			// second.
			seconds := int((want + time.Second - 1) / time.Second)
			after, err := strconv.Atoi(w.Header().Get("Retry-After"))
			if w.Code != http.StatusServiceUnavailable || err != nil || after < max(seconds, 1) ||
				after > max(seconds, 2) {
				t.Errorf("Retry-After %q: status %d, Retry-After %q, want %d", header, w.Code,
					w.Header()["Retry-After"], seconds)
			}
		})
	})
}

// paramsOf makes parameters of pieces of text. Each byte of shape has the
// length of the next piece in its upper half, and its field in the lower one.
func paramsOf(text string, shape []byte) (p searchtoken.TokenParams) {
	var previous string
	for _, b := range shape {
		length := int(b >> 4)
		piece := text[:min(length, len(text))]
		text = text[len(piece):]
		switch b & 15 {
		case 0:
			p.UserDisplayName = piece
		case 1:
			p.SearchHub = piece
		case 2:
			p.Pipeline = piece
		case 3:
			p.Filter = piece
		case 4:
			p.UserGroups = append(p.UserGroups, piece)
		case 5:
			p.CanSeeUserProfileOf = append(p.CanSeeUserProfileOf, piece)
		case 6:
			p.DictionaryFieldContext = with(p.DictionaryFieldContext, previous, piece)
		case 7:
			p.AllowedDictionaryFieldKeys = with(p.AllowedDictionaryFieldKeys, piece, []string{"*"})
		case 8:
			p.UserIDs = append(p.UserIDs, searchtoken.UserID{Name: previous, Provider: piece})
		case 9:
			p.UserIDs = append(p.UserIDs, searchtoken.Email(piece).UserIDs...)
		case 10:
			if last := len(p.UserIDs) - 1; last >= 0 {
				types := []searchtoken.UserType{
					"", searchtoken.UserTypeUser, searchtoken.UserTypeGroup, searchtoken.UserTypeUnknown,
				}
				p.UserIDs[last].Type = types[length%len(types)]
			}
		case 11:
			p.ValidFor = 24*time.Hour - time.Duration(length)*time.Minute
		case 13:
			p.Commerce = &searchtoken.CommerceParams{CatalogID: previous, Filter: piece, Operation: piece}
		case 12: // empty instead of nil
			p.UserGroups = slices.Concat([]string{}, p.UserGroups)
			p.CanSeeUserProfileOf = slices.Concat([]string{}, p.CanSeeUserProfileOf)
			if p.DictionaryFieldContext == nil {
				p.DictionaryFieldContext = map[string]string{}
			}
			if p.AllowedDictionaryFieldKeys == nil {
				p.AllowedDictionaryFieldKeys = map[string][]string{}
			}
		}
		previous = piece
	}
	return p
}

func with[V any](m map[string]V, key string, value V) map[string]V {
	if m == nil {
		m = map[string]V{}
	}
	m[key] = value
	return m
}

// sameGrant ignores differences that Coveo does not see: defaults, empty lists,
// and the order and duplicates of a set.
var sameGrant = cmp.Options{
	cmp.FilterPath(isSet, cmp.Transformer("Set", func(list []string) map[string]bool {
		set := map[string]bool{}
		for _, member := range list {
			set[member] = true
		}
		return set
	})),
	cmp.FilterPath(func(p cmp.Path) bool { return !isSet(p) }, cmpopts.EquateEmpty()),
	cmp.Transformer("Commerce", func(c *searchtoken.CommerceParams) searchtoken.CommerceParams {
		if c == nil {
			return searchtoken.CommerceParams{}
		}
		return *c
	}),
	cmp.Transformer("ValidFor", func(d time.Duration) int64 {
		if d == 0 {
			d = 24 * time.Hour
		}
		return int64(d)
	}),
	cmp.Transformer("Type", func(t searchtoken.UserType) string {
		if t == "" {
			t = searchtoken.UserTypeUser
		}
		return string(t)
	}),
}

func isSet(p cmp.Path) bool {
	return slices.Contains([]string{".UserGroups", ".CanSeeUserProfileOf"}, p.Last().String())
}

// FuzzKeys makes two requests. They must have the same Key if they are for the
// same user and the same grant, and different Keys otherwise.
func FuzzKeys(f *testing.F) {
	const text = "annbobcatdogeelfoxgnuhen\x01\x02\x03a\x00bowlpigratyak"
	everything := []byte{0x30, 0x31, 0x32, 0x33, 0x34, 0x34, 0x35, 0x36, 0x36, 0x38, 0x39, 0x2a, 0x1b}
	f.Add(text, everything, everything, everything, everything)
	for field := range byte(14) {
		f.Add(text, []byte{}, []byte{}, []byte{0x30 | field}, []byte{})
		f.Add(text, []byte{}, []byte{}, []byte{0x30 | field}, []byte{0x40 | field})
	}
	for i, shapes := range [][2]string{
		{"\x34\x34", "\x64"},                     // one group or two
		{"\x04\x04", "\x04"},                     // an empty group twice or once
		{"\x35\x05\x05", "\x05\x35"},             // the same profiles in another order
		{"\x34\x34", "\x35\x35"},                 // groups or profiles
		{"\x31\x02", "\x01\x32"},                 // hub or pipeline
		{"\x31\x32", "\x41\x22"},                 // divided elsewhere
		{"\x04", ""},                             // an empty group or none
		{"\x0c", ""},                             // empty lists or none
		{"\x0b", ""},                             // 24 hours or the default
		{"\x3f\x36\x3f\x36", "\x3f\x66\x3f\x06"}, // key or value
		{"\x37\x37", "\x67"},                     // one field or two
		{"\x37", "\x3f\x36"},                     // keys or context
		{"\x39", "\x3f\x38"},                     // a provider or another
		{"\x39\x0a", "\x39\x1a"},                 // no type or its default
		{"\x39\x2a", "\x39\x3a"},                 // a type or another
		{"\x39\x39", "\x69"},                     // one identity or two
		{"\x39", "\x3f\x39"},                     // the identity itself or another
	} {
		first, second := []byte(shapes[0]), []byte(shapes[1])
		f.Add(text, []byte{0x39, byte(i)}, []byte{0x39}, first, second)
		f.Add(text, first, second, []byte{}, []byte{0x31})
		f.Add(text, first, second, second, second)
	}
	// A string or the end of another one.
	f.Add("a\x00b\x00", []byte{}, []byte{}, []byte("\x30"), []byte("\x10\x1f\x21"))

	f.Fuzz(func(t *testing.T, text string, who1, who2, shape1, shape2 []byte) {
		type call struct {
			key   searchtoken.Key
			user  []searchtoken.UserID
			grant searchtoken.TokenParams
		}
		makeCall := func(who, shape []byte) (c call, ok bool) {
			identity := paramsOf(text, who)
			if len(identity.UserIDs) == 0 {
				identity.UserIDs = searchtoken.Email("ann").UserIDs
			}
			c.user, c.grant = identity.UserIDs, paramsOf(text, shape)
			if len(c.grant.UserIDs) == 0 {
				c.grant.UserIDs = identity.UserIDs
			}
			described := searchtoken.TokenParams{
				UserIDs: c.user, UserDisplayName: identity.UserDisplayName, UserGroups: identity.UserGroups,
			}
			ok = described.Validate() == nil && c.grant.Validate() == nil
			looked := false // into the Cache
			w := get(newMiddleware(t, searchtoken.Config{
				Identify: func(*http.Request) (searchtoken.Identity, error) {
					return searchtoken.Identity{
						UserIDs: c.user, DisplayName: identity.UserDisplayName, Groups: identity.UserGroups,
					}, nil
				},
				Cache: &cache{get: func(_ context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
					c.key, looked = key, true
					now := time.Now()
					return searchtoken.Token{Value: "token", Issued: now, Expiry: now.Add(time.Hour)}, 0, nil
				}},
				Route: searchtoken.Route{Prepare: func(_ *http.Request, p *searchtoken.TokenParams) error {
					*p = c.grant
					return nil
				}},
			}), request(""))
			if looked != ok || (w.Code == http.StatusOK) != ok {
				t.Errorf("status %d for %+v, which is valid: %v", w.Code, c.grant, ok)
			}
			return c, ok
		}
		first, ok1 := makeCall(who1, shape1)
		second, ok2 := makeCall(who2, shape2)
		if !ok1 || !ok2 {
			return
		}
		sameUser := cmp.Equal(first.user, second.user, sameGrant)
		if got := first.key.User == second.key.User; got != sameUser {
			t.Errorf("the same Key.User: %v, want %v, for\n%+v\n%+v", got, sameUser, first.user, second.user)
		}
		same := sameUser && cmp.Equal(first.grant, second.grant, sameGrant)
		if got := first.key == second.key; got != same {
			t.Errorf("the same Key: %v, want %v, for %+v with\n%+v\n%+v", got, same, first.user, first.grant,
				second.grant)
		}
	})
}

// FuzzRenewBody sends any renewal. The answer must be a token of the user that
// was not rejected, to a request from the page's own origin, or a status that
// says why not.
func FuzzRenewBody(f *testing.F) {
	statuses := []int{200, 400, 401, 403, 405, 413, 429}
	later := jwt(map[string]any{"iat": int64(1) << 33})

	add := func(method, site, origin, accept, body string) {
		f.Add(method, "application/json", site, origin, accept, body, true)
	}
	for _, body := range []string{
		`{"rejected":"<token>"}`, `{"rejected":"<later>"}`, `{"rejected":"other"}`, `{"rejected":""}`,
		`{"rejected":null}`, `{"rejected":1}`, `{"Rejected":"<token>"}`, `{"rejected":"x","rejected":"<token>"}`,
		`{"rejected":"x","rejecTed":"<token>"}`, `{"rejected":"x"} x`, `{}`, `[]`, `null`, ``,
		`{"rejected":"` + strings.Repeat("x", 16<<10) + `"}`,
	} {
		add("POST", "same-origin", "https://site.example", "application/json", body)
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "get", ""} {
		add(method, "same-origin", "", "", "")
	}
	for _, site := range []string{"", "none", "same-origin", "same-site", "cross-site", "Same-Origin", "x"} {
		for _, origin := range []string{
			"", "https://site.example", "http://site.example", "https://evil.example", "null", "://",
			"https://site.example.evil.example",
		} {
			add("GET", site, origin, "text/plain", "")
			add("POST", site, origin, "text/plain", `{"rejected":"<token>"}`)
		}
	}
	for _, accept := range []string{
		"*/*", "text/*;q=0.5, */*;q=0.1", "text/plain;q=NaN", "text/plain;q=1e309, application/json", ";,/",
	} {
		add("GET", "same-origin", "", accept, "")
	}
	f.Add("POST", "text/plain", "same-origin", "", "", `{"rejected":"<later>"}`, false)

	// In body, <token> stands for the user's token, and <later> for one that
	// seems to be issued later.
	f.Fuzz(func(t *testing.T, method, contentType, site, origin, accept, body string, known bool) {
		synctest.Test(t, func(t *testing.T) {
			var tokens []string // ann's
			m := newMiddleware(t, searchtoken.Config{
				Cache: searchtoken.NewMemoryCache(4),
				Issuer: &issuer{answer: func(
					_ context.Context, n int, p searchtoken.TokenParams,
				) (searchtoken.Token, error) {
					token := tokenFor(n, p)
					if p.UserIDs[0].Name == "ann" {
						tokens = append(tokens, token.Value)
					}
					return token, nil
				}},
			})
			get(m, request("bob"))
			body := strings.NewReplacer("<token>", get(m, request("ann")).Body.String(), "<later>", later).Replace(body)
			var report map[string]any // not a struct, which would match names in any case
			isReport := json.Unmarshal([]byte(body), &report) == nil || strings.TrimSpace(body) == ""
			rejected, isText := report["rejected"].(string)
			isReport = isReport && (isText || report["rejected"] == nil)

			for range 5 { // more than a user may force
				r := httptest.NewRequest("POST", "https://site.example/coveo/token", strings.NewReader(body))
				r.Method = method
				for name, value := range map[string]string{
					"Content-Type": contentType, "Sec-Fetch-Site": site, "Origin": origin, "Accept": accept,
				} {
					if value != "" {
						r.Header.Set(name, value)
					}
				}
				if known {
					r.Header.Set("User", "ann")
				}
				w := renew(m, r)
				got, h := seen(w), w.Header()

				allowed := method == "GET" || method == "POST"
				if !slices.Contains(statuses, got.Status) || (got.Status != http.StatusMethodNotAllowed) != allowed {
					t.Errorf("%s: status %d", method, got.Status)
				}
				headers := [][]string{h["Cache-Control"], h["X-Content-Type-Options"]}
				if diff := cmp.Diff([][]string{{"private, no-store"}, {"nosniff"}}, headers); diff != "" {
					t.Errorf("Cache-Control and X-Content-Type-Options (-want +got):\n%s", diff)
				}
				for name := range h {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("header %s", name)
					}
				}
				after, err := strconv.Atoi(got.RetryAfter)
				if got.Status == http.StatusTooManyRequests && (err != nil || after < 1 || after > 300) {
					t.Errorf("Retry-After %q", got.RetryAfter)
				}
				if got.Status != http.StatusOK {
					if got.Body != http.StatusText(got.Status)+"\n" {
						t.Errorf("status %d, body %q", got.Status, got.Body)
					}
					continue
				}

				token := got.Body
				if h.Get("Content-Type") == "application/json" {
					var answer map[string]string
					if err := json.Unmarshal([]byte(got.Body), &answer); err != nil || len(answer) != 6 {
						t.Fatalf("body %q", got.Body)
					}
					token = answer["token"]
				} else if h.Get("Content-Type") != "text/plain; charset=utf-8" {
					t.Errorf("Content-Type %q", h["Content-Type"])
				}
				if !known || !slices.Contains(tokens, token) {
					t.Errorf("logged in: %v, token %q, want one of %q", known, token, tokens)
				}
				from, err := url.Parse(origin)
				crossSite := site != "" && site != "same-origin" && site != "none" ||
					site == "" && origin != "" && (err != nil || from.Host != "site.example")
				if crossSite {
					t.Errorf("%s from Origin %q, Sec-Fetch-Site %q gets a token", method, origin, site)
				}
				if method == "POST" && (!isReport || token == rejected || len(body) > 16<<10) {
					t.Errorf("POST of %q gets %q", body, token)
				}
			}
		})
	})
}

var (
	anyTag         = regexp.MustCompile(`<[A-Za-z/!][^>]*>`)
	quoted         = regexp.MustCompile(`"[^"]*"`)
	inline         = regexp.MustCompile(`(?s)<script[^>]*>(.*?)</script>`)
	nonceAttribute = regexp.MustCompile(` nonce="([^"]*)"`)
	srcAttribute   = regexp.MustCompile(` src="([^"]*)"`)
)

// markup is the part of a page that decides on its elements.
type markup struct {
	Tags           []string // with the names of their attributes
	Opened, Closed int      // the number of < and of >
}

func markupOf(page string) markup {
	m := markup{Opened: strings.Count(page, "<"), Closed: strings.Count(page, ">")}
	for _, tag := range anyTag.FindAllString(page, -1) {
		m.Tags = append(m.Tags, quoted.ReplaceAllString(tag, `""`))
	}
	return m
}

// texts returns the strings in the JSON objects of a script.
func texts(script string) (all []string) {
	var collect func(v any)
	collect = func(v any) {
		switch v := v.(type) {
		case string:
			all = append(all, v)
		case map[string]any:
			for _, v := range v {
				collect(v)
			}
		case []any:
			for _, v := range v {
				collect(v)
			}
		}
	}
	for {
		start := strings.Index(script, `{"`)
		if start < 0 {
			return all
		}
		script = script[start:]
		var object map[string]any
		decoder := json.NewDecoder(strings.NewReader(script))
		if decoder.Decode(&object) == nil {
			collect(object)
			script = script[decoder.InputOffset():]
		} else {
			script = script[1:]
		}
	}
}

// FuzzSnippets renders pages with any values. The elements of a page must be
// those of a page with harmless values, and its scripts must get the values
// unchanged. From 128 on, option stands for a page with a ProxyURL.
func FuzzSnippets(f *testing.F) {
	frontEnds := []struct {
		frontEnd searchtoken.FrontEnd
		options  []string
	}{
		{searchtoken.JSUI, []string{"assets", "culture", "integrity", "lazy", "root", "version"}},
		{searchtoken.Atomic, []string{"assets", "root", "version"}},
		{searchtoken.Headless, []string{"assets", "build", "version"}},
		{searchtoken.IPX, []string{"id"}},
		{searchtoken.IPXBuilder, []string{"id"}},
	}
	harmless := map[string]string{
		"assets": "https://cdn.example", "culture": "fr", "integrity": "sha256-eA==", "root": "main", "version": "1",
		"id": "id",
	}
	pages := template.New("").Funcs(searchtoken.FuncMap())
	for _, fe := range frontEnds {
		arguments := ".Page .Option .Value"
		if fe.options[0] == "id" {
			arguments = ".Page .Value"
		}
		text := "<!DOCTYPE html><html><head>{{" + string(fe.frontEnd) + " " + arguments +
			"}}</head><body></body></html>"
		template.Must(pages.New(string(fe.frontEnd)).Parse(text))
	}

	for frontEnd, fe := range frontEnds {
		add := func(option int, value, text, endpoint string) {
			for _, proxied := range []int{0, 128} {
				f.Add(uint8(frontEnd), uint8(proxied+option), value, text, text, text, text, text, endpoint, endpoint)
			}
		}
		for option, name := range fe.options {
			for _, value := range []string{harmless[name], "true", "https://static.cloud.coveo.com"} {
				add(option, value, "x", "x")
				add(option, value, "", "")
			}
		}
		for _, text := range []string{
			"</script><script>alert(1)</script>", "<!--<script>", "]]>-->", "\"'`;alert(1)//", `\u003c/script\`,
			"\u2028\u2029\x00\xff\ufffd", "javascript:alert(1)//", "data:text/javascript,alert(1)//",
			"https://\"onload=alert(1) x=", "a b\n\tonload=alert(1)",
			"${alert(1)}", "{{.}}", "&quot;&lt;", "%22%3c/script%3e", "//evil.example/", "a?b#c&d=e%2f",
		} {
			root := max(slices.Index(fe.options, "root"), 0)
			add(0, harmless[fe.options[0]], text, text)
			add(0, harmless[fe.options[0]], text, "")
			add(root, text, text, "")
		}
	}

	f.Fuzz(func(
		t *testing.T, frontEnd, option uint8,
		value, organization, token, nonce, renewURL, hub, platform, analytics string,
	) {
		fe := frontEnds[int(frontEnd)%len(frontEnds)]
		name := fe.options[int(option%128)%len(fe.options)]
		render := func(value string, page searchtoken.Page) (string, error) {
			if option >= 128 {
				page.RenewURL, page.ProxyURL = "", page.RenewURL
			}
			var b strings.Builder
			err := pages.ExecuteTemplate(&b, string(fe.frontEnd),
				map[string]any{"Page": &page, "Option": name, "Value": value})
			return b.String(), err
		}
		out, err := render(value, searchtoken.Page{
			OrganizationID: organization, Token: searchtoken.Token{Value: token}, Nonce: nonce, RenewURL: renewURL,
			SearchHub: hub, PlatformURL: platform, AnalyticsURL: analytics,
		})
		if err != nil {
			return
		}

		// An empty value stays empty, because the snippet then has other tags.
		tame := func(s string) string {
			if s == "" {
				return ""
			}
			return "x"
		}
		tameValue := harmless[name]
		if tameValue == "" || value == "https://static.cloud.coveo.com" {
			tameValue = value
		}
		tamed, err := render(tameValue, searchtoken.Page{
			OrganizationID: tame(organization), Token: searchtoken.Token{Value: tame(token)}, Nonce: tame(nonce),
			RenewURL: tame(renewURL), SearchHub: tame(hub), PlatformURL: tame(platform), AnalyticsURL: tame(analytics),
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(markupOf(tamed), markupOf(out)); diff != "" {
			t.Fatalf("markup (-harmless +got):\n%s\n%s", diff, out)
		}
		if token == "" {
			return
		}

		for _, match := range nonceAttribute.FindAllStringSubmatch(out, -1) {
			if got, want := html.UnescapeString(match[1]), strings.ReplaceAll(nonce, "\x00", "\ufffd"); got != want {
				t.Errorf("nonce %q, want %q", got, want)
			}
		}
		for _, match := range srcAttribute.FindAllStringSubmatch(out, -1) {
			src := strings.ToLower(strings.TrimSpace(html.UnescapeString(match[1])))
			if strings.HasPrefix(src, "javascript:") || strings.HasPrefix(src, "data:") {
				t.Errorf("the page loads a script from %q", src)
			}
			if name != "id" || platform != "" {
				continue
			}
			u, err := url.Parse(html.UnescapeString(match[1]))
			if err != nil || u.Host != "platform.cloud.coveo.com" || u.Query().Get("access_token") != token ||
				!strings.HasPrefix(u.Path, "/rest/organizations/"+organization+"/") {
				t.Errorf("the page loads the IPX from %q, %v", match[1], err)
			}
		}
		if name == "id" {
			return
		}
		var scripts strings.Builder
		for _, match := range inline.FindAllStringSubmatch(out, -1) {
			scripts.WriteString(match[1])
		}
		if strings.ContainsAny(scripts.String(), "\u2028\u2029") {
			t.Errorf("a script has a line separator in a value: %q", scripts.String())
		}
		want := []string{organization, token, renewURL, hub}
		if option >= 128 && renewURL != "" { // a page with a ProxyURL
			want = []string{organization, renewURL + "/rest/search", hub}
			if fe.frontEnd != searchtoken.JSUI {
				want[1] += "/v2"
			}
		}
		if name == "root" {
			want = append(want, value)
		}
		got := texts(scripts.String())
		for _, text := range want {
			text = string([]rune(text)) // JSON replaces invalid UTF-8
			i := slices.Index(got, text)
			if text != "" && i < 0 {
				t.Errorf("the scripts do not get %q as often as they should: %q", text, out)
			} else if text != "" {
				got = slices.Delete(got, i, i+1)
			}
		}
	})
}
