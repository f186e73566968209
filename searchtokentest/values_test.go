package searchtokentest

import "testing"

func TestValuesAreThoseOfVisibleDocuments(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	const (
		one, batch = "/rest/search/v2/values", "/rest/search/v2/values/batch"
		form, json = "application/x-www-form-urlencoded", "application/json"

		intranet = `{"value":"Intranet","lookupValue":"Intranet","numberOfResults":2}`
		private  = `{"value":"Private files","lookupValue":"Private files","numberOfResults":1}`
		public   = `{"value":"Intranet","lookupValue":"Intranet","numberOfResults":1}`
	)
	token := p.IssueToken(user(alice))
	for _, tc := range []struct {
		name, target, contentType, body string
		status                          int
		want                            string
	}{
		{"form", one, form, "field=%40source", 200, `{"values":[` + intranet + `,` + private + `]}`},
		{"JSON", one, json, `{"field":"source"}`, 200, `{"values":[` + intranet + `,` + private + `]}`},
		{"within a query", one, form, "field=%40source&queryOverride=%40tenant%3D%3Dacme", 200, `{"values":[` + public + `]}`},
		{"no such field", one, form, "field=%40nothing", 200, `{"values":[]}`},
		{"unsupported query", one, form, "field=%40source&queryOverride=(", 400, ""},
		{"not JSON", one, json, "{", 400, ""},
		{
			"batch in a form", batch, form, `batch=[{"field":"@source"},{"field":"@x"}]`, 200,
			`{"batch":[[` + intranet + `,` + private + `],[]]}`,
		},
		{"batch in JSON", batch, json, `{"batch":[{"field":"@x"}]}`, 200, `{"batch":[[]]}`},
		{"empty batch", batch, json, `{}`, 200, `{"batch":[]}`},
		{"unsupported query in a batch", batch, json, `{"batch":[{"field":"@x","queryOverride":"("}]}`, 400, ""},
		{"batch that is not a list", batch, form, "batch=1", 400, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := send(t, p, "POST", tc.target, tc.body, "Authorization", "Bearer "+token, "Content-Type", tc.contentType)
			if resp.StatusCode != tc.status || tc.want != "" && string(b) != tc.want+"\n" {
				t.Errorf("got status %d and %s, want %d and %s", resp.StatusCode, b, tc.status, tc.want)
			}
		})
	}
}
